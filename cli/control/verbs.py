"""Makes the commands `sluice suspend`, `bounce`, `expire`, `reroute` and `resume`.

Each command writes one order to mail.control. Every deliver process applies the order within 2 s.
The order affects mail that arrives later, and also affects waiting mail when the turn of this mail
comes. An order on a scope that no mail can have is refused (checking.py), unless an order is in
force on that scope. The answer contains the order that was replaced. Exit codes: 1 there is nothing
to resume, 2 wrong usage, 3 Kafka is unavailable.
"""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from cli.answer import Exit, fail, print_json
from cli.clients.faults import answering
from cli.control.checking import check_scope
from cli.control.options import (
    WHY,
    author_of,
    authored,
    expiry_ms,
    require_target,
    scope_of,
    scoped,
)
from cli.control.orders import order_line, recorded_line
from cli.control.topic import (
    DEFAULT_FOR,
    forgotten,
    in_force,
    read_orders,
    resumption,
    write_orders,
)
from cli.options import find_kafka
from shared.runtime.clock import now_ms
from shared.topics.control import MAX_TEXT_CHARS, Order, Scope, Verb

_HELP: Final = {
    Verb.SUSPEND: "Send no mail of a scope for a while; the mail waits and is sent later.",
    Verb.BOUNCE: "End the mail of a scope as bounced, without an attempt.",
    Verb.EXPIRE: "End the mail of a scope as expired, without an attempt.",
    Verb.REROUTE: "Send the mail of a scope to another server.",
    Verb.RESUME: "End the order in force on a scope.",
}
_MORE: Final = """

The order concerns mail that waits and mail that arrives until the order ends. The options --client
to --lane set the scope: give at least one; mail must match all that you give. A later order on the
same scope replaces this order.
"""

_MORE_OF_RESUME: Final = """

Give exactly the scope of the order, as `sluice orders` lists it; orders on other scopes stay in
force. Mail that waits is sent when its turn comes.
"""
_WHY_RESUMED: Final = "The reason, which is recorded with the end of the order."


def _require_order(found: Order | None, scope: Scope, as_json: bool) -> Order:
    if found is None:
        fail(
            f"no order is in force on: {scope}; `sluice orders` lists the orders",
            Exit.CHECK_FAILED,
            as_json,
        )
    return found


def verb_command(verb: Verb) -> click.Command:
    """Return the command of a verb."""

    def give(
        author: str, reason: str, as_json: bool, bootstrap: str, line: str, **rest: Any
    ) -> None:
        now = now_ms()
        how_long, is_endless = rest.pop("how_long", ""), rest.pop("is_endless", False)
        target = require_target(rest.pop("target")) if verb is Verb.REROUTE else ""
        ends = (
            0
            if verb is Verb.RESUME
            else expiry_ms(how_long, is_endless=is_endless, default=DEFAULT_FOR[verb], now_ms=now)
        )
        scope = scope_of(**rest)
        kafka = find_kafka(bootstrap, line)
        order = Order(verb, scope, author_of(author), reason[:MAX_TEXT_CHARS], now, ends, target)
        before = read_orders(kafka)
        found = in_force(before, scope, now)
        if found is None:  # An order in force can be ended even if its scope no longer exists.
            check_scope(kafka, scope, bootstrap, line)
        if verb is Verb.RESUME:
            order = resumption(_require_order(found, scope, as_json), order)
        write_orders(kafka, [order], [e for e in forgotten(before, now) if e.scope != scope])
        _answer(order, found, as_json)

    why = _WHY_RESUMED if verb is Verb.RESUME else WHY
    command: Any = authored(scoped(answering(give)), why)
    if verb is not Verb.RESUME:
        command = _lasting(command, DEFAULT_FOR[verb])
    if verb is Verb.REROUTE:
        command = click.option(
            "--to",
            "target",
            required=True,
            metavar="HOST:PORT",
            help="The server to which the mail is sent.",
        )(command)
    more = _MORE_OF_RESUME if verb is Verb.RESUME else _MORE
    made: click.Command = click.command(verb.value, help=_HELP[verb] + more)(command)
    return made


def _lasting(command: Any, default: str) -> Any:
    command = click.option(
        "--until-resumed", "is_endless", is_flag=True, help="The order does not end by itself."
    )(command)
    return click.option(
        "--for",
        "how_long",
        default="",
        metavar="TIME",
        help=f"The order ends after this time, such as 90s, 30m, 2h, 7d.  [default: {default}]",
    )(command)


def _answer(order: Order, replaced: Order | None, as_json: bool) -> None:
    """Print the new order, and the order on the same scope that the new order has replaced or
    ended."""
    if as_json:
        print_json({**msgspec.to_builtins(order), "replaced": msgspec.to_builtins(replaced)})
        return
    click.echo(order_line(order))
    if replaced is not None:
        word = "ended" if order.verb is Verb.RESUME else "replaced"
        click.echo(f"{word}: {recorded_line(replaced)}")
