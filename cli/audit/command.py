"""`sluice audit`: whether every message taken in has its one fate, from mail.events alone.

Reads the topic from the beginning. The equation: received = refused + suppressed + delivered
+ bounced + expired + cancelled + held + waiting, per client, mailing ID and sub-client; besides,
final events and first dispatches that a mail id has twice. `--settled` says that nothing may
be waiting any more: what is missing then is a fault. In flight is another number: what a process
has handed out for an attempt (`sluice_stream_in_flight`).

On a busy line: the end of what is committed is noted first, then the end of what is written;
finals count up to the first, tallies up to the second. A message's tally is committed before
anybody else sees the message, so no final counted here lacks its tally.

Exit codes: 0 it balances, 1 it does not or is not settled, 2 wrong usage, 3 Kafka is unavailable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from cli.answer import Exit, fail, print_json, say
from cli.table import Column, Kind, lay_out, terminal_width
from cli.target import find_kafka, kafka_options
from shared.audit.conservation import Books, FaultKind, Report, judge
from shared.audit.doubles import DoubleSearch
from shared.audit.event_log import EventLog
from shared.runtime.errors import Unavailable
from shared.runtime.run_command import run_command
from shared.settings.loader import SettingsError
from shared.stream.client import ClientOptions, client_options
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics.codec import CodecError, decode_event
from shared.topics.names import EVENTS
from shared.topics.records import Event, Tally

_KEYS: Final = {"client": "client", "mailing_id": "mailing ID", "sub_client": "sub-client"}
_HELP: Final = """Check that every message taken in has exactly one fate.

With --settled, messages that still wait are a fault, too: the verdict is then
"NOT settled" if there is no other one.

\b
Exit codes:
  0  it balances
  1  it does not, or is not settled
  2  wrong usage
  3  Kafka is unavailable
"""
_ALWAYS_SHOWN: Final = ("received", "waiting")


class _Reading:
    """Feeds records to the books, and mail ids to the search for doubles."""

    def __init__(self, final_ends: dict[int, int]) -> None:
        self.books = Books()
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
                    self.books.add_tally(found)
                case Event() if record.offset < end:
                    self._add_event(found)

    def _add_event(self, event: Event) -> None:
        mail_id = self.books.add_event(event)
        if mail_id is not None:
            self.search.add(event, mail_id)


def audit(options: ClientOptions, settled: bool = False, topic: str = EVENTS) -> Report:
    """Read mail.events up to its present end and judge it. Raises PartUnavailable."""
    with EventLog(options, topic) as log:
        committed = log.committed_ends()
        written = log.written_ends()
        cut = [partition for partition, begin in sorted(log.begins().items()) if begin > 0]
        reading = _Reading(committed)
        try:
            for partition, records in log.read(written):
                reading.add(partition, records)
            doubles = reading.search.found()
        finally:
            reading.search.close()
    return judge(reading.books, doubles, settled, cut)


def table_lines(report: Report, width: int) -> list[str]:
    """The account of each mailing; a column in which all numbers are 0 is left out."""
    numbers = [
        name
        for name in report.rows[0].__struct_fields__
        if name not in _KEYS
        and (name in _ALWAYS_SHOWN or any(getattr(row, name) for row in report.rows))
    ]
    columns = [Column(heading) for heading in _KEYS.values()]
    columns += [Column(name.replace("_", " "), Kind.COUNT) for name in numbers]
    rows = [[str(getattr(row, name)) for name in (*_KEYS, *numbers)] for row in report.rows]
    return ["received = final events + held + waiting", "", *lay_out(columns, rows, width), ""]


def verdict_of(report: Report) -> str:
    """Whether the books balance, and if they do not only because messages are still under way."""
    if report.balanced:
        return "balances"
    if all(fault.kind is FaultKind.MISSING for fault in report.faults):
        return "NOT settled"
    return "does NOT balance"


def summary_lines(report: Report) -> list[str]:
    """The verdict with its equation, and what it means if messages are still under way."""
    if not report.rows and report.balanced:
        return ["balances: nothing has been received yet"]
    held = f" + {report.held} held" if report.held else ""
    lines = [
        f"{verdict_of(report)}: {report.received} received = {report.finals} final"
        f"{held} + {report.waiting} waiting; {report.first_dispatches} dispatched"
    ]
    if verdict_of(report) == "NOT settled":
        lines.append(
            "The books are right so far, but messages are still under way: try again later."
        )
    return lines


def _tell(report: Report) -> None:
    if report.rows:
        click.echo("\n".join(table_lines(report, terminal_width())))
    for fault in report.faults:
        say(f"{fault.kind.value}: {fault.count}  {', '.join(fault.examples)}")
    click.echo("\n".join(summary_lines(report)))


@click.command(help=_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--settled", is_flag=True, help="Nothing may be waiting any more.")
@kafka_options
def main(as_json: bool, settled: bool, bootstrap: str, line: str) -> None:
    """Audit, tell, and end with the exit code."""
    try:
        kafka = find_kafka(bootstrap, line)
        report = audit(client_options(kafka, f"audit-{os.getpid()}"), settled)
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
