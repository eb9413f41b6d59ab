"""`sluice audit`: checks that each accepted or returned message has exactly one fate.

The command reads mail.events from the beginning, and mail.returned (shared/audit/returned.py). It
checks this equation per client, mailing ID and sub-client: received = refused + suppressed +
delivered + bounced + expired + cancelled + held + waiting. It also reports each mail id with two
final events or two first dispatches. With `--settled`, a message that still waits is a fault.
Waiting messages are not the same as messages in flight. A message in flight is one that a process
has handed out for an attempt (`sluice_stream_in_flight`).

Because the pipeline may be busy, the command first records the end of the committed records, then
the end of all written records. The command counts final events up to the first end, and it counts
tallies up to the second end. A message's tally is committed before any other process sees the
message, so if a final event is counted, the tally of its message is counted, too.

If messages are counted as waiting but no queue holds any message, those messages are lost. To list
the lost messages, the command reads the events again and also stores the mail ids of the tallies
(shared/audit/conservation.py). If the queues cannot be read, the command reports that on standard
error and judges only the events.

Exit codes: 0 the equation holds, 1 the equation does not hold, or --settled is given and messages
still wait, 2 wrong usage, 3 Kafka is unavailable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Final

import click
from msgspec import Struct
from msgspec.structs import replace

from cli.answer import Exit, fail, print_json, say
from cli.audit.shown import returned_lines, summary_lines, table_lines
from cli.options import find_kafka, kafka_options
from cli.queue.reading import look_at_queues
from cli.terminal import terminal_width, visible_names
from shared.audit.conservation import Books, QueueLook, is_settled, judge, parse_mail_id, with_lost
from shared.audit.doubles import DoubleSearch, IdBuckets
from shared.audit.event_log import EventLog
from shared.audit.report import SHOWN, BookFault, Report, ReturnedReport
from shared.audit.returned import ReturnedBooks
from shared.audit.returned_log import ReturnedTopics, ends_of, read_returned
from shared.runtime.commands import run_command
from shared.runtime.errors import Unavailable
from shared.settings.loader import SettingsError
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, client_options
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics import ids
from shared.topics.codec import CodecError, decode_event
from shared.topics.event_records import Tally
from shared.topics.names import EVENTS
from shared.topics.records import Event

_HELP: Final = """Check that every message taken in or returned has exactly one fate.

A message that has no final event and is in no queue is lost; the mail ids of lost
messages are listed. With --settled, a message that still waits is a fault, too; if
there is no other fault, the verdict is "NOT settled".

\b
Exit codes:
  0  the equation balances
  1  the equation does not balance, or mail is not settled
  2  wrong usage
  3  Kafka is unavailable
"""
_RETURNED: Final = ReturnedTopics()


class _Reading:
    """Adds records to the books, and passes their mail ids to the search for second final events.

    If `with_ids` is set, the mail ids of the tallies are stored too, because unfinished() needs
    them.
    """

    def __init__(self, final_ends: dict[int, int], with_ids: bool) -> None:
        self._received = IdBuckets()
        self._with_ids = with_ids
        self.books = Books()
        self.returned = ReturnedBooks()
        self.search = DoubleSearch()
        self._final_ends = final_ends

    def add(self, partition: int, records: Sequence[Record]) -> None:
        end = self._final_ends[partition]
        for record in records:
            if isinstance(record, UndecodableRecord):
                self.books.unreadable += 1
                continue
            try:
                found = decode_event(record.headers, record.value)
            except CodecError:
                self.books.unreadable += 1
                continue
            match found:
                case Tally():
                    self._add_tally(found)
                case Event():
                    self.returned.add_event(found, is_before=record.offset < end)
                    if record.offset < end:
                        self._add_event(found)

    def close(self) -> None:
        """Delete the temporary files."""
        self._received.close()
        self.search.close()
        self.returned.close()

    def unfinished(self) -> Iterator[str]:
        """Return the mail ids of the tallied messages that are neither final nor held."""
        found = map(ids.from_bytes, self.search.unfinished(self._received))
        return (each for each in found if not self.books.is_held(each))

    def _add_tally(self, tally: Tally) -> None:
        self.books.add_tally(tally)
        if self._with_ids:
            for text in (each for row in tally.rows for each in row.mail_ids):
                mail_id = parse_mail_id(text)
                if mail_id is not None:
                    self._received.add(mail_id)

    def _add_event(self, event: Event) -> None:
        mail_id = self.books.add_event(event)
        if mail_id is not None:
            self.search.add(event, mail_id)


class _Books(Struct, frozen=True):
    """The result of reading all events once."""

    report: Report
    unfinished: list[str]  # A sample of the mail ids without a final event; empty unless requested.
    is_open: bool  # True if mail.events had an open transaction.


def audit(
    options: ClientOptions,
    settled: bool = False,
    topic: str = EVENTS,
    returned: ReturnedTopics | None = _RETURNED,
    look: Callable[[], QueueLook | None] = lambda: None,
) -> Report:
    """Read mail.events and mail.returned up to their current ends, and judge the counts.

    If `returned` is None, only mail.events is read. If messages are counted as waiting, `look` is
    called to read the queues. `look` returns None if the queues cannot be read. Raises
    PartUnavailable.
    """
    with EventLog(options, topic) as log:
        found = _read(log, options, settled, returned).report
        before = look() if found.waiting > 0 else None
        if before is None or not before.is_empty:
            return found
        again = _read(log, options, settled, returned, with_ids=True)
        after = look()
        if after is None or not is_settled(before, after, again.is_open):
            return again.report
        return with_lost(again.report, again.unfinished)


def _read(
    log: EventLog,
    options: ClientOptions,
    settled: bool,
    returned: ReturnedTopics | None,
    *,
    with_ids: bool = False,
) -> _Books:
    committed = log.committed_ends()
    ends = ends_of(options, returned) if returned is not None else None
    written = log.written_ends()
    cut = [partition for partition, begin in sorted(log.begins().items()) if begin > 0]
    with closing(_Reading(committed, with_ids)) as reading:
        if returned is not None and ends is not None:
            read_returned(options, returned, ends, reading.returned)
        for partition, records in log.read(written):
            reading.add(partition, records)
        report = judge(reading.books, reading.search.found(), settled, cut)
        if ends is not None:
            faults = reading.returned.faults(settled, ends.is_whole)
            report = _with_returned(report, reading.returned.report(), faults)
        return _Books(report, list(islice(reading.unfinished(), SHOWN)), committed != written)


def _with_returned(report: Report, returned: ReturnedReport, faults: list[BookFault]) -> Report:
    return replace(
        report,
        balanced=report.balanced and not faults,
        faults=[*report.faults, *faults],
        returned=returned,
    )


def _tell(report: Report) -> None:
    if report.rows:
        click.echo("\n".join(table_lines(report, terminal_width())))
    if report.returned is not None and report.returned.rows:
        click.echo("\n".join(returned_lines(report.returned, terminal_width())))
    for fault in report.faults:
        say(f"{fault.kind.value}: {fault.count}  {visible_names(fault.examples)}")
    click.echo("\n".join(summary_lines(report)))


def _look(kafka: KafkaSettings) -> QueueLook | None:
    try:
        return look_at_queues(kafka)
    except Unavailable as error:
        say(f"the queues could not be read, so only the events are checked: {error}")
        return None


@click.command(help=_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("--settled", is_flag=True, help="Treat a message that still waits as a fault.")
@click.option(
    "--returned/--no-returned",
    "with_returned",
    default=True,
    show_default=True,
    help="Check returned mail, too; this reads mail.returned, which keeps messages for 14 days.",
)
@kafka_options
def main(*, as_json: bool, settled: bool, with_returned: bool, bootstrap: str, line: str) -> None:
    """Audit, print the report, and end with the exit code."""
    try:
        kafka = find_kafka(bootstrap, line)
        returned = _RETURNED if with_returned else None
        options = client_options(kafka, f"audit-{os.getpid()}")
        report = audit(options, settled, EVENTS, returned, partial(_look, kafka))
    except SettingsError as error:
        fail(str(error), Exit.USAGE_ERROR, as_json)
    except Unavailable as error:
        fail(str(error), Exit.PART_UNAVAILABLE, as_json)
    if as_json:
        print_json(report)
    else:
        _tell(report)
    sys.exit(Exit.OK if report.balanced else Exit.CHECK_FAILED)


if __name__ == "__main__":
    run_command(main, "audit")
