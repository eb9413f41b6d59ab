"""Counts mail.events again from its beginning, and compares the counts with the live cells.

First the cells are read. Then each partition is read up to the watermark that is stored with the
cells. So both counts are of the same events, even while the pipeline runs. Mails with two final
events or two first dispatches are reported in the same way as by `sluice audit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from services.billing.core.answer import lag, why_incomplete
from services.billing.core.month import Months
from services.billing.core.recount import Difference, Recount
from services.billing.edge.archive import Archive
from services.billing.edge.cells import Cells
from services.billing.edge.one_moment import by_month, read_at_one_moment
from services.billing.edge.temporary_files import Compared, SortedCounts
from services.billing.edge.usage_view import progress_of
from shared.audit.conservation import Doubles, doubled_faults, parse_mail_id
from shared.audit.doubles import DoubleSearch
from shared.audit.event_log import EventLog
from shared.audit.report import BookFault
from shared.plurals import counted as counted_text
from shared.runtime.errors import UsageError
from shared.store.read_cells import Counts, Snapshot
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics.records import Event

# The highest number of cells in memory during a recount. Each cell takes about 400 bytes.
MAX_IN_MEMORY: Final = 100_000
# The highest number of differences that a report lists.
SHOWN: Final = 10_000

T = TypeVar("T")


class CountedLog(Protocol):
    """The source of the events that are counted again: EventLog, Archive or JoinedLog."""

    def id(self) -> str:
        """Return the id of the topic."""

    def begins(self) -> dict[int, int]:
        """Return the first offset of each partition."""

    def committed_ends(self) -> dict[int, int]:
        """Return the last stable offset of each partition."""

    def written_ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition."""

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield runs of the records before the offsets in `ends`. This method may be called
        several times."""


class JoinedLog:
    """Reads events from an archive. After that, it reads the events that are not archived yet from
    Kafka."""

    def __init__(self, archive: Archive, log: EventLog) -> None:
        """Raises UsageError if the archive and Kafka have different topics."""
        if archive.id() not in ("", log.id()):
            raise UsageError(
                f"the archive has events of the topic {archive.id()}, but Kafka has events of "
                f"{log.id()}"
            )
        self._archive = archive
        self._log = log

    def id(self) -> str:
        """Return the id of the topic."""
        return self._log.id()

    def begins(self) -> dict[int, int]:
        """Return the first offset of each partition."""
        return self._log.begins() | self._archive.begins()

    def committed_ends(self) -> dict[int, int]:
        """Return the last stable offset of each partition."""
        return self._log.committed_ends()

    def written_ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition."""
        return self._log.written_ends()

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Return, for each partition, an offset before which no record has this time or a later
        time."""
        return self._log.offsets_at(time_ms) | self._archive.offsets_at(time_ms)

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield runs of the records before the offsets in `ends`. Records before the offsets in
        `starts` may be left out."""
        yield from self._archive.read(ends, starts)
        archived, asked = self._archive.ends(), starts or {}
        yield from self._log.read(
            ends, {part: max(archived.get(part, 0), asked.get(part, 0)) for part in ends}
        )


class RecountReport(Struct, frozen=True):
    """The result of a recount.

    `agree` is True if there is no difference and no fault, and the cells include every committed
    event. If the cells do not include every event, `reason` says what is missing. `faults` are the
    mails with two final events or two first dispatches, in the form of `sluice audit`. `different`
    is the number of cells that differ, and `differences` has at most SHOWN of these cells.
    """

    agree: bool
    complete: bool
    reason: str
    records: int
    unreadable: int
    lag: dict[int, int]
    months: list[str]
    differences: list[Difference]
    faults: list[BookFault]
    different: int = 0
    # The first unreadable records, each as partition:offset.
    unreadable_at: list[str] = []


def recount(
    log: CountedLog,
    cells: Cells,
    months: Months,
    on_records: Callable[[int], None] = lambda _: None,
) -> RecountReport:
    """Count all events again and compare the counts with the cells. `on_records` is called with the
    number of records in each run.

    Raises PartUnavailable if Kafka is unavailable, and StoreUnavailable if the store is
    unavailable.
    """
    ends, log_id = log.committed_ends(), log.id()
    with closing(SortedCounts()) as compared:
        live = read_live(cells, compared)
        counted = Recount(months)
        into = Spill(counted, compared)
        doubles = _count(log, _readable(live, log_id, log.written_ends()), into, on_records)
        into.write()
        different, differences = shown(compared, _difference, SHOWN)
        names = sorted({*compared.months(), *live.versions})
    faults = doubled_faults(doubles)
    standing = progress_of(live)
    reason = why_incomplete(standing, min(names, default=""), log_id, ends)
    return RecountReport(
        agree=not different and not faults and not reason,
        complete=not reason,
        reason=reason,
        records=counted.records,
        unreadable=counted.unreadable,
        lag=lag(standing, ends),
        months=names,
        differences=differences,
        faults=faults,
        different=different,
        unreadable_at=counted.unreadable_at,
    )


def shown(compared: SortedCounts, make: Callable[[Compared], T], most: int) -> tuple[int, list[T]]:
    """Return the number of differences, and a list of at most `most` differences."""
    found, number = list[T](), 0
    for number, each in enumerate(compared.differences(), 1):
        if number <= most:
            found.append(make(each))
    return number, found


def read_live(cells: Cells, into: SortedCounts) -> Snapshot:
    """Read all live cells at one moment, and add their counts to the column `before`. Raises
    StoreUnavailable."""

    def take(months: Sequence[str], _: Snapshot, counts: Counts) -> None:
        for month, found in by_month(months, counts):
            into.remove(month)
            into.add_before(found)

    return read_at_one_moment(cells, lambda found: found.versions, take)


class Spill:
    """Writes the counts of a recount to a file when many cells are in memory, so that memory is
    bounded."""

    def __init__(self, counted: Recount, into: SortedCounts, last_month: str = "") -> None:
        """Counts of months after `last_month` are left out. If `last_month` is "", all counts are
        written."""
        self.counted = counted
        self._into = into
        self._last_month = last_month

    def write_if_many(self) -> None:
        """Write the counts if many cells are in memory. Raises DiskUnavailable."""
        if len(self.counted) >= MAX_IN_MEMORY:
            self.write()

    def write(self) -> None:
        """Write the counts that are in memory."""
        last = self._last_month
        self._into.add_now(row for row in self.counted.take() if not last or row[0] <= last)


def _count(
    log: CountedLog, ends: dict[int, int], into: Spill, on_records: Callable[[int], None]
) -> Doubles:
    """Count the records before the offsets in `ends`, but count each mail only once. Return the
    mails that occur more than once.

    If any mail occurs more than once, the log is read a second time.
    """
    counted = into.counted
    search = DoubleSearch()
    try:
        for partition, records in log.read(ends):
            on_records(len(records))
            for record in records:
                event = add_record(counted, partition, record)
                mail_id = parse_mail_id(event.subject) if event is not None else None
                if event is not None and mail_id is not None:
                    search.add(event, mail_id)
            into.write_if_many()
        doubles = search.found()
    finally:
        search.close()
    if doubled_faults(doubles):
        for _, records in log.read(ends):
            for record in records:
                if not isinstance(record, UndecodableRecord):
                    counted.discount(record, doubles)
            into.write_if_many()
    return doubles


def add_record(counted: Recount, partition: int, record: Any) -> Event | None:
    """Count a record and return its event. If the record cannot be read, note its offset and return
    None."""
    before, event = counted.unreadable, None
    if isinstance(record, UndecodableRecord):
        counted.unreadable += 1
    else:
        event = counted.add(record)
    if counted.unreadable > before:
        counted.note_unreadable(partition, record.offset)
    return event


def unreadable_line(number: int, places: Sequence[str]) -> str:
    """Return the message about records that could not be read. Return "" if all records could be
    read."""
    if not number:
        return ""
    more = ", ..." if number > len(places) else ""
    return (
        f"{counted_text(number, 'record')} could not be read and are not counted "
        f"(partition:offset {', '.join(places)}{more})"
    )


def _difference(found: Compared) -> Difference:
    cell = found.cell
    return Difference(
        month=found.month,
        client=cell.client,
        mailing_id=cell.mailing_id,
        sub_client=cell.sub_client,
        counter=cell.counter,
        day=cell.day,
        detail=cell.detail,
        recounted=found.now,
        live=found.before,
    )


def _readable(live: Snapshot, log_id: str, ends: dict[int, int]) -> dict[int, int]:
    """Return the watermarks of the cells. If a watermark is after the end of the log, return the
    end instead."""
    if live.log != log_id:
        return {}
    return {part: min(mark, ends.get(part, 0)) for part, mark in live.watermarks.items()}
