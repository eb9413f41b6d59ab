"""The answer to a usage query: the rows of a month, and whether they are complete."""

from __future__ import annotations

from msgspec import Struct

from services.billing.core.rows import Row
from shared.plurals import counted


class CountingProgress(Struct, frozen=True):
    """How far counting is: watermarks and holes by partition, and the log that is counted."""

    whole: bool
    log: str
    watermarks: dict[int, int]
    holes: dict[int, str]


class Usage(Struct, frozen=True):
    """The counts of a month. `complete`: they include every event that was committed when the
    query came; otherwise `reason` says why not. `lag`: records not counted yet, by partition.
    `closed`: they are those of the statement, and all this is as of the close."""

    month: str
    complete: bool
    reason: str
    lag: dict[int, int]
    rows: list[Row]
    closed: bool = False


def lag(standing: CountingProgress, ends: dict[int, int]) -> dict[int, int]:
    """The number of records between the watermarks and the ends, by partition."""
    return {
        partition: max(0, end - standing.watermarks.get(partition, 0))
        for partition, end in sorted(ends.items())
    }


def other_log(counted: str, present: str) -> str:
    """Why nothing is counted while the cells belong to another log than the present mail.events."""
    return (
        f"mail.events is another log ({present}) than the log of the counts ({counted}): adopt-log"
        " keeps the counts and continues with this log, rebuild --lose-counts drops them"
    )


def why_incomplete(standing: CountingProgress, month: str, log: str, ends: dict[int, int]) -> str:
    """Why the cells of `month` do not cover the whole log up to `ends`; "" if they do."""
    if not standing.whole:
        return "a part of the counts was lost; they are being counted again"
    if standing.log and standing.log != log:
        return other_log(standing.log, log)
    behind = {partition: number for partition, number in lag(standing, ends).items() if number}
    if behind:
        records, partitions = sum(behind.values()), len(behind)
        verb = "is" if records == 1 else "are"
        where = counted(partitions, "partition")
        return f"{counted(records, 'record')} of {where} {verb} not counted yet"
    if any(month <= last for last in standing.holes.values()):
        return "records were deleted, or their log was replaced, before they were counted"
    return ""
