"""`sluice audit`: whether every message taken in has its one fate, from mail.events alone.

Reads the topic from the beginning. The equation: received = refused + suppressed + delivered
+ bounced + expired + cancelled + in flight, per client, mailing ID and sub-client; besides,
final events and first dispatches that a mail id has twice. `--settled` says that nothing may
be in flight any more: what is missing then is a fault.

On a busy line: the end of what is committed is noted first, then the end of what is written;
finals count up to the first, tallies up to the second. A message's tally is committed before
anybody else sees the message, so no final counted here lacks its tally.

Exit codes: 0 it balances, 1 it does not, 3 Kafka is unavailable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from cli.answer import Exit, fail, print_json, say
from cli.target import find_kafka, kafka_options
from shared.audit.conservation import Books, Report, judge
from shared.audit.doubles import DoubleSearch
from shared.audit.event_log import EventLog
from shared.runtime.errors import Unavailable
from shared.runtime.program_name import program_name
from shared.settings.loader import SettingsError
from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics.codec import CodecError, decode_event
from shared.topics.names import EVENTS
from shared.topics.records import Event, Tally

_PIPED_WIDTH: Final = 200


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


def _show(report: Report) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    table = Table(title="received = final events + in flight")
    names = ("client", "mailing_id", "sub_client")
    for name in names:
        table.add_column(name)
    numbers = [name for name in report.rows[0].__struct_fields__ if name not in names]
    for name in numbers:
        table.add_column(name, justify="right")
    for row in report.rows:
        table.add_row(*(str(getattr(row, name)) for name in (*names, *numbers)))
    console.print(table)


def _tell(report: Report) -> None:
    if report.rows:
        _show(report)
    for fault in report.faults:
        say(f"{fault.kind.value}: {fault.count}  {', '.join(fault.examples)}")
    verdict = "balances" if report.balanced else "does NOT balance"
    click.echo(
        f"{verdict}: {report.received} received = {report.finals} final"
        f" + {report.in_flight} in flight; {report.first_dispatches} dispatched"
    )


@click.command(help="Check that every message taken in has exactly one fate.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--settled", is_flag=True, help="Nothing may be in flight any more.")
@kafka_options
def main(as_json: bool, settled: bool, bootstrap: str, line: str) -> None:
    """Audit, tell, and end with the exit code."""
    try:
        kafka = find_kafka(bootstrap, line)
        report = audit(ClientOptions(kafka.bootstrap, f"audit-{os.getpid()}"), settled)
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
    main(prog_name=program_name("audit"))
