"""Verifies a statement: checks its hash and its signature, and counts its events again.

The counts are compared in a temporary file, so memory is bounded for any number of events, cells
and lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Protocol

from msgspec import Struct

from services.billing.core.closing.chain import Chain
from services.billing.core.closing.lines import cell_of
from services.billing.core.closing.statement import faults
from services.billing.core.month import Months
from services.billing.core.recount import Recount
from services.billing.edge.archive import Gap
from services.billing.edge.recounting import Spill, add_record, shown
from services.billing.edge.temporary_files import Compared, SortedCounts
from shared.audit.event_log import EventLog
from shared.runtime.errors import UsageError

# The highest number of differences that a report lists.
SHOWN: Final = 1_000


class Events(Protocol):
    """The source of the events that are counted again: KafkaEvents or Archive."""

    def id(self) -> str:
        """Return the id of the topic."""

    def begins(self) -> dict[int, int]:
        """Return the first offset of each partition."""

    def committed_ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition."""

    def gaps(self) -> list[Gap]:
        """Return the ranges of offsets that are missing."""

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield runs of the records before the offsets in `ends`."""


class KafkaEvents:
    """Reads the events of mail.events from Kafka. These events have no gaps."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.id = log.id
        self.begins = log.begins
        self.committed_ends = log.committed_ends

    def gaps(self) -> list[Gap]:
        """Return an empty list, because Kafka has no gaps."""
        return []

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield runs of the records before the offsets in `ends`."""
        return self._log.read(ends)


class LineDifference(Struct, frozen=True):
    """A count in the statement that differs from the count of the events."""

    month: str
    client: str
    mailing_id: str
    sub_client: str
    day: str
    counter: str
    detail: str
    stated: int
    counted: int


class Proof(Struct, frozen=True):
    """The result of a verification. `proved` is True if there is no fault and no difference.
    `faults` has one line of text for each fault."""

    month: str
    proved: bool
    signed: bool
    complete: bool  # True if the statement says that the counts were complete
    records: int
    faults: list[str]
    differences: list[LineDifference]
    # The number of unreadable records, and the first of these records as partition:offset.
    unreadable: int = 0
    unreadable_at: list[str] = []


def verify(
    month: str,
    chain: Chain,
    events: Events,
    zone_months: Callable[[str], Months],
    trusted: Sequence[str] = (),
    on_records: Callable[[int], None] = lambda _: None,
) -> Proof:
    """Verify the statement of a month. Raises UsageError if the month has no statement. Raises
    PartUnavailable if Kafka is unavailable."""
    closed = chain.closed.get(month)
    if closed is None:
        raise UsageError(_why_not_closed(month, chain))
    statement = closed.statement
    found = faults(statement, closed.text, trusted)
    ends = {int(partition): end for partition, end in statement.offsets.items()}
    reach = _reach(statement.log, ends, events)
    recount = Recount(zone_months(statement.time_zone))
    different, differences = 0, list[LineDifference]()
    if not reach:
        with closing(SortedCounts()) as compared:
            into = Spill(recount, compared, last_month=month)
            for partition, records in events.read(ends):
                for record in records:
                    add_record(recount, partition, record)
                into.write_if_many()
                on_records(len(records))
            into.write()
            _add_stated(compared, chain, month)
            different, differences = shown(compared, _difference, SHOWN)
    if different:
        found.append(f"{different} counts differ from those of the events")
    return Proof(
        month=month,
        proved=not found and not reach,
        signed=bool(statement.signature),
        complete=statement.complete,
        records=recount.records,
        faults=[*found, *reach],
        differences=differences,
        unreadable=recount.unreadable,
        unreadable_at=recount.unreadable_at,
    )


def _why_not_closed(month: str, chain: Chain) -> str:
    if month not in chain.void_months:
        return f"{month} is not closed: there is no statement of it"
    return (
        f"{month}: its statement exists, but is not valid: {chain.void_months[month]}; the last "
        f"valid statement is that of {chain.last or 'no month'}"
    )


def _reach(log: str, ends: dict[int, int], events: Events) -> list[str]:
    """Return the reasons why `events` does not have all events that are counted in the
    statement."""
    if events.id() != log:
        return [f"the events are of another topic ({events.id()}) than the statement's ({log})"]
    begins, last = events.begins(), events.committed_ends()
    found = [
        f"partition {part}: the events begin at offset {begins[part]}; the earlier ones were"
        " deleted, an archive may have them"
        for part, end in ends.items()
        if end and begins.get(part, end) > 0 and part in begins
    ]
    found += [
        f"partition {part}: the events end at offset {last.get(part, 0)}, the statement at {end}"
        for part, end in ends.items()
        if last.get(part, 0) < end
    ]
    found += [
        f"partition {gap.partition}: offsets {gap.begin} to {gap.end} are missing"
        for gap in events.gaps()
    ]
    return found


def _add_stated(compared: SortedCounts, chain: Chain, month: str) -> None:
    """Add the lines of the statement to `before`, and subtract the lines of earlier statements from
    `now`."""
    lines = chain.closed[month].lines()
    compared.add_before((line.month, cell_of(line), line.count) for line in lines)
    for each in sorted(chain.stated_months(month)):
        earlier = chain.stated(each, month)
        compared.add_now((each, cell_of(line), -line.count) for line in earlier)


def _difference(found: Compared) -> LineDifference:
    cell = found.cell
    return LineDifference(
        found.month,
        cell.client,
        cell.mailing_id,
        cell.sub_client,
        cell.day,
        cell.counter,
        cell.detail,
        found.before,
        found.now,
    )
