"""Counts mail.events again from the beginning and compares with the live cells.

The cells are read first; each partition is then read exactly up to the watermark beside
them, so the comparison is exact while the line is working.
"""

from __future__ import annotations

from msgspec import Struct

from services.billing.core.answer import lag, why_incomplete
from services.billing.core.month import Months
from services.billing.core.recount import Difference, Recount
from services.billing.edge.cells import Cells
from services.billing.edge.usage_view import standing_of
from shared.cli.event_log import EventLog
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.stream.kafka_python.fetching import UndecodableRecord


class RecountReport(Struct, frozen=True):
    """`agree`: no difference, and the cells count all that was committed (else `reason`)."""

    agree: bool
    complete: bool
    reason: str
    records: int
    unreadable: int
    lag: dict[int, int]
    months: list[str]
    differences: list[Difference]


def recount(log: EventLog, cells: Cells, months: Months) -> RecountReport:
    """Recount and compare. Raises PartAway without Kafka, StoreAwayError without the store."""
    ends, log_id = log.committed_ends(), log.id()
    live = cells.read(ALL_MONTHS)
    counted = Recount(months)
    for _, records in log.read(_readable(live, log_id, log.written_ends())):
        for record in records:
            if isinstance(record, UndecodableRecord):
                counted.unreadable += 1
            else:
                counted.add(record)
    names = sorted({*counted.months(), *live.months})
    differences = [
        each for month in names for each in counted.differences(month, live.months.get(month, {}))
    ]
    standing = standing_of(live)
    reason = why_incomplete(standing, min(names, default=""), log_id, ends)
    return RecountReport(
        agree=not differences and not reason,
        complete=not reason,
        reason=reason,
        records=counted.records,
        unreadable=counted.unreadable,
        lag=lag(standing, ends),
        months=names,
        differences=differences,
    )


def _readable(live: Snapshot, log_id: str, ends: dict[int, int]) -> dict[int, int]:
    """The watermarks, as far as they mean records that this log holds."""
    if live.log != log_id:
        return {}
    return {part: min(mark, ends.get(part, 0)) for part, mark in live.watermarks.items()}
