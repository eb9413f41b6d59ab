"""`sluice queue`: reads the waiting mail from Kafka and shows it.

Exit codes: 0 success, 1 `show` has not found the message, 2 wrong usage, 3 Kafka is unavailable.
"""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from cli.answer import Exit, print_json, say
from cli.clients.faults import answering
from cli.control.orders import at
from cli.options import common, find_kafka, progress
from cli.queue.counting import BY, QueueCounts, TopicRow
from cli.queue.reading import QueueReading
from cli.terminal import Column, Kind, lay_out, terminal_width
from shared.plurals import counted
from shared.runtime.commands import HelpGroup, run_command
from shared.topics import ids


@click.group(cls=HelpGroup)
def main() -> None:
    """Show the mail that waits: in the lanes, for a retry, for validation.

    The command reads the whole topics with the bodies, so large queues take time. After
    --timeout it shows the counts so far.
    """


@main.command()
@common
@answering
def summary(as_json: bool, **rest: Any) -> None:
    """Show how many messages wait in each topic, and of which clients."""
    counts, is_complete = _counts("client", rest)
    rows = [row for row in counts.rows.values() if row.records]
    if as_json:
        by = dict(counts.by.most_common())
        print_json({"is_complete": is_complete, "topics": msgspec.to_builtins(rows), "clients": by})
        return
    if rows:
        click.echo("\n".join(_table(rows)))
    _by_lines(counts, "client", 10)


@main.command()
@click.option(
    "--by",
    type=click.Choice(BY),
    default="client",
    show_default=True,
    help="Count the messages by this property.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Show at most this many rows.",
)
@common
@answering
def top(by: str, limit: int, as_json: bool, **rest: Any) -> None:
    """Show for which clients (or domains, lanes, ...) most mail waits."""
    counts, is_complete = _counts(by, rest)
    if as_json:
        found = [{by: value, "messages": count} for value, count in counts.by.most_common(limit)]
        print_json({"is_complete": is_complete, "messages": counts.total(), "top": found})
        return
    _by_lines(counts, by, limit)


@main.command()
@click.argument("mail_id")
@common
@answering
def show(mail_id: str, as_json: bool, **rest: Any) -> None:
    """Show where a message waits, until when, and the reply to its last attempt."""
    try:
        ids.to_bytes(mail_id)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with progress("reading the queues") as shown:
        reading = QueueReading(
            find_kafka(rest["bootstrap"], rest["line"]), rest["timeout_s"], shown
        )
        found = reading.find(mail_id)
    if found is None:
        where = (
            "is in no queue"
            if reading.is_complete
            else "was not found in time: set a longer --timeout"
        )
        say(f"{mail_id} {where}; `sluice message` shows what became of it")
    if as_json:
        print_json({"is_complete": reading.is_complete, "message": msgspec.to_builtins(found)})
    elif found is not None:
        envelope = found.envelope
        click.echo(f"{mail_id} waits on {found.topic}, partition {found.partition}")
        shown_as = {
            "client": envelope.client,
            "to": envelope.recipient,
            "lane": envelope.lane,
            "received": at(envelope.received_at_ms),
            "due": at(envelope.due_at_ms) if envelope.due_at_ms else "now",
            "expires": at(envelope.expires_at_ms) if envelope.expires_at_ms else "",
            "attempts": str(envelope.attempts.count),
            "held": (
                f"since {at(envelope.held_since_ms)}; `sluice indoubt send` or"
                " `sluice indoubt drop` ends this"
                if envelope.held_since_ms
                else ""
            ),
            "last reply": "".join(filter(str.isprintable, envelope.attempts.last_reply)),
        }
        for name, text in shown_as.items():
            if text:
                click.echo(f"    {name:<11} {text}")
    sys.exit(Exit.OK if found else Exit.CHECK_FAILED)


def _counts(by: str, rest: dict[str, Any]) -> tuple[QueueCounts, bool]:
    with progress("reading the queues") as shown:
        reading = QueueReading(
            find_kafka(rest["bootstrap"], rest["line"]), rest["timeout_s"], shown
        )
        counts = reading.counts(by)
    if not reading.is_complete:
        say(f"not all was read in {rest['timeout_s']:g} s: more may wait; set a longer --timeout")
    return counts, reading.is_complete


def _table(rows: list[TopicRow]) -> list[str]:
    numbers = ("messages", "attempted", "held", "records read", "of records")
    columns = [Column("topic"), *(Column(name, Kind.COUNT) for name in numbers)]
    columns += [Column("oldest received"), Column("first due")]
    return lay_out(
        columns,
        [
            [
                row.topic,
                *map(str, (row.messages, row.attempted, row.held, row.records_read, row.records)),
                at(row.oldest_ms) if row.messages else "",
                (at(row.next_due_ms) if row.next_due_ms else "now") if row.messages else "",
            ]
            for row in rows
        ],
        terminal_width(),
    )


def _by_lines(counts: QueueCounts, by: str, limit: int) -> None:
    if counts.by:
        rows = counts.top(limit)
        columns = [Column(by), Column("messages", Kind.COUNT)]
        click.echo("\n".join(lay_out(columns, rows, terminal_width())))
    click.echo(f"{counted(counts.total(), 'message')} waiting")


if __name__ == "__main__":
    run_command(main, "queue")
