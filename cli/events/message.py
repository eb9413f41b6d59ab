"""`sluice message`: shows the events and the state of a message.

Exit codes: 0 the message was found; 1 no event of such a message was found; 2 wrong usage, or an
unknown client for which nothing was found; 3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

import click
import msgspec

from cli.answer import Exit, print_json, say
from cli.clients.faults import answering, require_known
from cli.control.orders import recorded_line
from cli.control.topic import orders_on, read_orders
from cli.events.output import story_lines
from cli.options import ago_ms, common, find_kafka, progress
from cli.terminal import known_width
from shared.events.log import Reading, Sieve, Span
from shared.events.stories import WAITING, Choose, Read, Story, Wanted, find_events, stories
from shared.runtime.clock import now_ms
from shared.runtime.commands import run_command
from shared.runtime.errors import Unavailable
from shared.settings.sections import KafkaSettings
from shared.topics.control import Order

MAX_SHOWN: Final = 100


@click.command()
@click.argument("what")
@click.option("--client", default="", help="Only messages of this client.")
@click.option("--since", default="7d", show_default=True, help="How far back to look.")
@common
@answering
def main(what: str, client: str, since: str, as_json: bool, **rest: Any) -> None:
    """Show what became of a message, from its events.

    WHAT is a mail id, a Message-ID, the submission's own id (ce_id) or the
    recipient's address. A message of any age is found by its mail id. For the
    other names, the command reads only the events since --since.
    """
    since_ms = ago_ms("--since", since, now_ms())
    kafka, timeout_s = find_kafka(rest["bootstrap"], rest["line"]), float(rest["timeout_s"])

    def read(from_ms: int, sieve: Sieve, choose: Choose) -> Read:
        with progress("reading mail.events") as shown:
            reading = Reading(kafka, Span(from_ms, timeout_s), sieve, shown)
            events = list(filter(choose, reading.events()))
            return Read(events, reading.is_complete)

    looked = find_events(Wanted(what), since_ms, client, read)
    found = stories(looked.events)
    if client and not found:
        require_known(kafka, client)
    if not looked.is_complete:
        say(
            f"not all events were read in {timeout_s:g} s: set a longer --timeout or a shorter"
            " --since"
        )
    if as_json:
        print_json({"is_complete": looked.is_complete, "messages": msgspec.to_builtins(found)})
    else:
        shown_last = found[-MAX_SHOWN:]
        orders = _orders(kafka) if any(one.state == WAITING for one in shown_last) else []
        for story in shown_last:
            click.echo(
                "\n".join([*story_lines(story, known_width()), *_order_lines(story, orders)])
            )
        if len(found) > MAX_SHOWN:
            say(f"and {len(found) - MAX_SHOWN} earlier messages; --json shows them")
        if not found:
            say(nothing_found(what))
    sys.exit(Exit.OK if found else Exit.CHECK_FAILED)


def nothing_found(what: str) -> str:
    """Return the sentence that is printed if no message matches the text."""
    return (
        f"no event of {what!r} was found: give a complete mail id, Message-ID, ce_id or address of"
        " a recipient; for all but a mail id, try a longer --since; `sluice queue show` finds mail"
        " that waits"
    )


def _orders(kafka: KafkaSettings) -> list[Order]:
    """Return the orders of operators; if they cannot be read, print a warning and return no
    orders."""
    try:
        return read_orders(kafka)
    except Unavailable as error:
        say(f"the orders of operators were not read: {error}")
        return []


def _order_lines(story: Story, orders: Iterable[Order]) -> list[str]:
    if story.state != WAITING:
        return []
    return [f"    order       {recorded_line(one)}" for one in orders_on(story, orders, now_ms())]


if __name__ == "__main__":
    run_command(main, "message")
