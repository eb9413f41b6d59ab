"""Counts mail.events again from the beginning and compares with the live cells.

The cells are read first; each partition is then read exactly up to the watermark stored with them,
so the comparison is exact while the pipeline is running. Mails with two final events or two first
dispatches are reported as `sluice audit` reports them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from services.billing.core.answer import lag, why_incomplete
from services.billing.core.month import Months
from services.billing.core.recount import Difference, Recount
from services.billing.edge.archive import Archive
from services.billing.edge.cells import Cells
from services.billing.edge.usage_view import progress_of
from shared.audit.conservation import BookFault, Doubles, doubled_faults, parse_mail_id
from shared.audit.doubles import DoubleSearch
from shared.audit.event_log import EventLog
from shared.runtime.errors import UsageError
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.stream.kafka_python.fetching import UndecodableRecord


class CountedLog(Protocol):
    """The events that are counted again: EventLog, Archive or JoinedLog."""

    def id(self) -> str:
        """The id of the topic."""

    def begins(self) -> dict[int, int]:
        """The first offset by partition."""

    def committed_ends(self) -> dict[int, int]:
        """The last stable offset by partition."""

    def written_ends(self) -> dict[int, int]:
        """The offset after the last record by partition."""

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the records below `ends` in runs. It may be called again."""


class JoinedLog:
    """An archive, and Kafka for what is not archived yet."""

    def __init__(self, archive: Archive, log: EventLog) -> None:
        """Raises UsageError if they are of different topics."""
        if archive.id() not in ("", log.id()):
            raise UsageError(
                f"the archive has events of the topic {archive.id()}, Kafka of {log.id()}"
            )
        self._archive = archive
        self._log = log

    def id(self) -> str:
        """The id of the topic."""
        return self._log.id()

    def begins(self) -> dict[int, int]:
        """The first offset by partition."""
        return self._log.begins() | self._archive.begins()

    def committed_ends(self) -> dict[int, int]:
        """The last stable offset by partition."""
        return self._log.committed_ends()

    def written_ends(self) -> dict[int, int]:
        """The offset after the last record by partition."""
        return self._log.written_ends()

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """The first offsets of this time or later, by partition."""
        return self._log.offsets_at(time_ms) | self._archive.offsets_at(time_ms)

    def read(
        self, ends: Mapping[int, int], starts: Mapping[int, int] | None = None
    ) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the records below `ends` in runs. `starts`: earlier records may be left out."""
        yield from self._archive.read(ends, starts)
        archived, asked = self._archive.ends(), starts or {}
        yield from self._log.read(
            ends, {part: max(archived.get(part, 0), asked.get(part, 0)) for part in ends}
        )


class RecountReport(Struct, frozen=True):
    """`agree`: no difference, no fault, and the cells include everything committed (otherwise see
    `reason`). `faults`: mails with two final events or first dispatches, as in `sluice audit`."""

    agree: bool
    complete: bool
    reason: str
    records: int
    unreadable: int
    lag: dict[int, int]
    months: list[str]
    differences: list[Difference]
    faults: list[BookFault]


def recount(
    log: CountedLog,
    cells: Cells,
    months: Months,
    on_records: Callable[[int], None] = lambda _: None,
) -> RecountReport:
    """Recount and compare. `on_records` gets the number of records of each run.

    Raises PartUnavailable without Kafka, StoreUnavailable without the store.
    """
    ends, log_id = log.committed_ends(), log.id()
    live = cells.read(ALL_MONTHS)
    counted = Recount(months)
    doubles = _count(log, _readable(live, log_id, log.written_ends()), counted, on_records)
    faults = doubled_faults(doubles)
    names = sorted({*counted.months(), *live.months})
    differences = [
        each for month in names for each in counted.differences(month, live.months.get(month, {}))
    ]
    standing = progress_of(live)
    reason = why_incomplete(standing, min(names, default=""), log_id, ends)
    return RecountReport(
        agree=not differences and not faults and not reason,
        complete=not reason,
        reason=reason,
        records=counted.records,
        unreadable=counted.unreadable,
        lag=lag(standing, ends),
        months=names,
        differences=differences,
        faults=faults,
    )


def _count(
    log: CountedLog, ends: dict[int, int], counted: Recount, on_records: Callable[[int], None]
) -> Doubles:
    """Count the records below `ends`, each mail once; return the mails that occur more than once.

    The log is read a second time only if there are such mails.
    """
    search = DoubleSearch()
    try:
        for _, records in log.read(ends):
            on_records(len(records))
            for record in records:
                if isinstance(record, UndecodableRecord):
                    counted.unreadable += 1
                    continue
                event = counted.add(record)
                mail_id = parse_mail_id(event.subject) if event is not None else None
                if event is not None and mail_id is not None:
                    search.add(event, mail_id)
        doubles = search.found()
    finally:
        search.close()
    if doubled_faults(doubles):
        for _, records in log.read(ends):
            for record in records:
                if not isinstance(record, UndecodableRecord):
                    counted.discount(record, doubles)
    return doubles


def _readable(live: Snapshot, log_id: str, ends: dict[int, int]) -> dict[int, int]:
    """The watermarks, limited to records that this log holds."""
    if live.log != log_id:
        return {}
    return {part: min(mark, ends.get(part, 0)) for part, mark in live.watermarks.items()}
