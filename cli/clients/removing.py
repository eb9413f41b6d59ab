"""`sluice clients remove`, `restore` and `forget`: removing clients, with a choice about their
mail, and restoring them.

Owns: the commands, the question that asks for confirmation, the table of removed clients. Does not
own: planning the changes (shared/registry/store/removing.py), writing them (publish.py in the same
folder). Exit codes: 1 there is no record of a removed client with this name; 2 wrong usage, an
unknown client, or a client that cannot be removed or restored now; 3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from cli.answer import Exit, fail, print_json
from cli.clients import credentials
from cli.clients.faults import answering, unknown_client
from cli.control.options import author_of, authored
from cli.control.topic import read_orders
from cli.options import duration_s, find_kafka, kafka_options
from cli.terminal import Column, Kind, lay_out
from shared.registry.client import Client
from shared.registry.removal import (
    DAY_MS,
    DEFAULT_KEPT_DAYS,
    MAX_KEPT_DAYS,
    MailChoice,
    Removal,
)
from shared.registry.store.publish import change_all
from shared.registry.store.removing import plan_forgetting, plan_removal, plan_restoring
from shared.registry.store.view import Loaded, load_all
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from shared.topics.control import MAX_TEXT_CHARS, Order, Scope

F = TypeVar("F", bound=Callable[..., Any])
_MEANINGS: Final = {
    MailChoice.HOLD: "its mail waits, and expires at the same time as without a removal",
    MailChoice.REFUSE: "its waiting mail ends without an attempt",
    MailChoice.DELIVER: "its accepted mail is sent",
}
_DONE: Final = {
    MailChoice.HOLD: "its mail is held",
    MailChoice.REFUSE: "its mail is refused",
    MailChoice.DELIVER: "its accepted mail is sent",
}
# Click gets the values as a list, because Click would use the member names of the enumeration.
_CHOICE: Final = click.Choice([each.value for each in MailChoice])
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


def removal_options(command: F) -> F:
    """Add the options --mail and --keep to a command."""
    command = click.option(
        "--keep",
        default=f"{DEFAULT_KEPT_DAYS}d",
        show_default=True,
        metavar="TIME",
        help="How long a removed client can be restored, such as 7d.",
    )(command)
    return click.option(
        "--mail",
        "choice",
        type=_CHOICE,
        help="What to do with mail that was accepted.  [default: ask, if on a terminal]",
    )(command)


def make_removal(
    names: Sequence[str], choice: str | None, keep: str, author: str, reason: str
) -> Removal:
    """Return the removal that the options describe. Raises click.UsageError."""
    kept_ms = (duration_s(keep) or 0) * 1000
    if not DAY_MS <= kept_ms <= MAX_KEPT_DAYS * DAY_MS:
        text = f"--keep {keep!r}: give a time from 1d to {MAX_KEPT_DAYS}d, such as 30d"
        raise click.UsageError(text)
    mail = MailChoice(choice or _ask(names))
    now = now_ms()
    return Removal(mail, now, now + kept_ms, author_of(author), reason[:MAX_TEXT_CHARS])


def _ask(names: Sequence[str]) -> str:
    """Ask what to do with the mail. Raises click.UsageError if standard input is not a terminal."""
    whose = ", ".join(names)
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"--mail is missing; choose what happens to mail of {whose} that was accepted and has"
            f" no outcome yet: {', '.join(MailChoice)}"
        )
    click.echo(f"Mail of {whose} that was accepted and has no outcome yet:", err=True)
    for each, meaning in _MEANINGS.items():
        click.echo(f"  {each.value:<8} {meaning}", err=True)
    choice: str = click.prompt("mail", type=_CHOICE, err=True)
    return choice


def orders_before(kafka: KafkaSettings) -> dict[str, Order]:
    """Return, by client name, the last order on all mail of the client. Raises Unavailable."""
    orders = read_orders(kafka)
    return {
        order.scope.client: order
        for order in orders
        if order.scope.client and order.scope == Scope(client=order.scope.client)
    }


@click.command()
@click.argument("name")
@removal_options
@authored
@_json
@kafka_options
@answering
def remove(  # noqa: PLR0913, PLR0917 - a command has many options
    name: str,
    choice: str | None,
    keep: str,
    author: str,
    reason: str,
    as_json: bool,
    bootstrap: str,
    line: str,
) -> None:
    """Remove a client: it can submit no more mail. --mail decides what happens to accepted mail.

    Until the time of --keep is over, `restore` can register the client again as it was. If the
    client was removed before, the new --mail and --keep replace the earlier ones. The intake topic
    stays.
    """
    kafka = find_kafka(bootstrap, line)
    found = load_all(kafka)
    if name not in found.clients and name not in found.removed:
        known = {*found.clients, *found.removed}
        fail(unknown_client(name, known), Exit.USAGE_ERROR, as_json)
    removal = make_removal([name], choice, keep, author, reason)
    before = orders_before(kafka)
    change_all(kafka, lambda clients, kept: plan_removal([name], clients, kept, removal, before))
    if as_json:
        print_json({"removed": [name], "mail": removal.mail, "forgotten_on": day(removal)})
        return
    click.echo(f"removed   {name}: {_DONE[removal.mail]}; it is kept until {day(removal)}")


@click.command()
@click.argument("name")
@authored
@_json
@kafka_options
@answering
def restore(name: str, author: str, reason: str, as_json: bool, bootstrap: str, line: str) -> None:
    """Register a removed client as it was, with its passwords; held mail is sent."""
    kafka = find_kafka(bootstrap, line)
    _require_removed(name, load_all(kafka), as_json)
    by = Removal(MailChoice.DELIVER, now_ms(), 0, author_of(author), reason[:MAX_TEXT_CHARS])
    before = orders_before(kafka).get(name)
    change_all(kafka, lambda clients, kept: plan_restoring(name, clients, kept, by, before))
    if as_json:
        print_json({"restored": [name]})
    else:
        click.echo(f"restored  {name}")


@click.command()
@click.argument("name")
@_json
@kafka_options
@answering
def forget(name: str, as_json: bool, bootstrap: str, line: str) -> None:
    """Delete the record of a removed client now; it cannot be restored afterwards."""
    kafka = find_kafka(bootstrap, line)
    _require_removed(name, load_all(kafka), as_json)
    change_all(kafka, lambda _, kept: plan_forgetting(name, kept))
    if as_json:
        print_json({"forgotten": [name]})
    else:
        click.echo(f"forgotten {name}")


def _require_removed(name: str, found: Loaded, as_json: bool) -> None:
    known = {*found.clients, *found.removed}
    if name not in known:
        fail(unknown_client(name, known), Exit.USAGE_ERROR, as_json)
    if name not in found.removed:
        fail(f"no removed client {name!r} can be restored", Exit.CHECK_FAILED, as_json)


def day(removal: Removal) -> str:
    """Return the day on which the client is forgotten (UTC)."""
    return _day(removal.forget_at_ms)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def removed_as_json(client: Client, removal: Removal) -> dict[str, object]:
    """Return the fields of a removed client that `list --removed --json` shows."""
    return {
        "name": client.name,
        "sending_domain": client.sending_domain,
        "mail": removal.mail,
        "removed_on": _day(removal.at_ms),
        "forgotten_on": day(removal),
        "author": removal.author,
        "reason": removal.reason,
        "credentials": credentials.summary(client.credentials),
    }


def removed_lines(clients: Sequence[Client], width: int) -> list[str]:
    """Return the table of removed clients."""
    headings = ("client", "sending domain", "mail", "removed", "kept until", "by")
    columns = [*map(Column, headings), Column("reason", Kind.TEXT)]
    rows = [
        (
            client.name,
            client.sending_domain,
            client.removal.mail.value,
            _day(client.removal.at_ms),
            day(client.removal),
            client.removal.author,
            client.removal.reason,
        )
        for client in clients
        if client.removal is not None
    ]
    return lay_out(columns, rows, width)
