"""Counts mail.events again from the beginning and compares with the live cells.

The cells are read first; each partition is then read exactly up to the watermark stored with them,
so the comparison is exact while the pipeline is running. Mails with two final events or two first
dispatches are reported as `sluice audit` reports them.
"""

from __future__ import annotations

from msgspec import Struct

from services.billing.core.answer import lag, why_incomplete
from services.billing.core.month import Months
from services.billing.core.recount import Difference, Recount
from services.billing.edge.cells import Cells
from services.billing.edge.usage_view import progress_of
from shared.audit.conservation import BookFault, Doubles, doubled_faults, parse_mail_id
from shared.audit.doubles import DoubleSearch
from shared.audit.event_log import EventLog
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.stream.kafka_python.fetching import UndecodableRecord


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


def recount(log: EventLog, cells: Cells, months: Months) -> RecountReport:
    """Recount and compare. Raises PartUnavailable without Kafka, StoreUnavailable without Redis."""
    ends, log_id = log.committed_ends(), log.id()
    live = cells.read(ALL_MONTHS)
    counted = Recount(months)
    doubles = _count(log, _readable(live, log_id, log.written_ends()), counted)
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


def _count(log: EventLog, ends: dict[int, int], counted: Recount) -> Doubles:
    """Count the records below `ends`, each mail once; return the mails that occur more than once.

    The log is read a second time only if there are such mails.
    """
    search = DoubleSearch()
    try:
        for _, records in log.read(ends):
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
