"""`sluice events`: shows the events of all clients or of one client, in the order of their arrival.

Exit codes: 2 wrong usage, or an unknown client without events in the chosen time; 3 Kafka is
unavailable. A client that was removed and forgotten has no record in the registry, but its events
are kept for 400 days, so a client with events in the chosen time counts as known. With --follow,
the command reads this time once to find such events, before it refuses an unknown client.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import click
import msgspec

from cli.answer import Exit, StopAskedError, interruptible, print_json, say
from cli.clients.faults import answering, require_known
from cli.events.output import event_lines
from cli.options import ago_ms, common, find_kafka, progress
from cli.terminal import known_width
from shared.events.log import Reading, Sieve, Span
from shared.runtime.clock import now_ms
from shared.runtime.commands import run_command
from shared.runtime.errors import UsageError
from shared.settings.sections import KafkaSettings
from shared.topics.records import Event, EventType


@click.command()
@click.option("--client", default="", help="Only events of this client.")
@click.option(
    "--type",
    "kinds",
    multiple=True,
    metavar="TYPE",
    type=click.Choice([kind.value for kind in EventType]),
    help="Only events of this type, such as bounced; may be repeated.",
)
@click.option("--since", default="", help="How far back to begin.  [default: 10m]")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="Show at most this many events, the newest ones.",
)
@click.option("--follow", is_flag=True, help="Continue with new events; with --json, one per line.")
@common
@answering
def main(client: str, kinds: tuple[str, ...], since: str, as_json: bool, **rest: Any) -> None:
    """Show the events of messages, the oldest first.

    Without --follow, only the last --limit events are shown.
    """
    follow, limit = bool(rest["follow"]), int(rest["limit"])
    since_ms = ago_ms("--since", since or "10m", now_ms())
    kafka, timeout_s = find_kafka(rest["bootstrap"], rest["line"]), float(rest["timeout_s"])
    is_known = not client
    needle = msgspec.json.encode(client)[1:-1]

    def is_wanted(event: Event) -> bool:
        return not kinds or event.type.value in kinds

    def of_client(events: Iterable[Event]) -> Iterator[Event]:
        nonlocal is_known
        for event in events:
            if client in ("", event.data.client):
                is_known = True
                yield event

    def may_be(_key: bytes, value: bytes) -> bool:
        return needle in value

    if follow:
        if client:
            _require_found(kafka, client, Span(since_ms, timeout_s), may_be)
        span = Span(since_ms if since else now_ms() - 1_000, timeout_s, is_endless=True)
        reading = Reading(kafka, span, may_be, lambda _done, _total: None)
        _follow(filter(is_wanted, of_client(reading.events())), as_json)
    with progress("reading mail.events") as shown:
        reading = Reading(kafka, Span(since_ms, timeout_s), may_be, shown)
        found = list(filter(is_wanted, of_client(reading.events())))
    if not is_known:
        require_known(kafka, client)
    found.sort(key=lambda each: each.data.at_ms)
    if not reading.is_complete:
        _say_incomplete(timeout_s)
    if len(found) > limit:
        say(f"{len(found) - limit} earlier events are not shown: set a higher --limit")
    if as_json:
        print_json(found[-limit:])
    else:
        for event in found[-limit:]:
            click.echo(_shown(event))


def _say_incomplete(timeout_s: float) -> None:
    say(f"not all events were read in {timeout_s:g} s: set a longer --timeout or a shorter --since")


def _require_found(kafka: KafkaSettings, client: str, span: Span, may_be: Sieve) -> None:
    """Refuse a client that is not registered and has no event in `span`. Raises UsageError."""
    try:
        require_known(kafka, client)
    except UsageError:
        with progress("reading mail.events") as shown:
            events = Reading(kafka, span, may_be, shown).events()
            is_found = any(event.data.client == client for event in events)
        if not is_found:
            raise


def _shown(event: Event) -> str:
    return "\n".join(event_lines(event, known_width()))


def _follow(events: Iterable[Event], as_json: bool) -> NoReturn:
    try:
        with interruptible():
            for event in events:
                click.echo(msgspec.json.encode(event).decode() if as_json else _shown(event))
    except StopAskedError:
        pass
    except BrokenPipeError:
        sys.stderr.close()
    sys.exit(Exit.OK)


if __name__ == "__main__":
    run_command(main, "events")
