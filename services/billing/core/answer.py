"""The answer to a usage query: the rows of a month, their CSV form, and the check of completeness.

A row has the sums of a month's cells for one mailing, or for one mailing and day. The CSV has one
line per mailing. The columns of the CSV and their order are always the same.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct, field

from services.billing.core.cells import COUNTERS, Cell, decode_cell
from services.billing.core.usage_api.tables import safe
from shared.plurals import counted

KEYS: Final = ("client", "mailing_id", "sub_client")
RowKey = tuple[str, str, str, str]  # client, mailing ID, sub-client, day
COLUMNS: Final = ("month", "client", "mailing_id", "sub_client", *COUNTERS)


class Row(Struct, frozen=True):
    """The counts of one mailing in one month, or on one day of that month."""

    client: str
    mailing_id: str
    sub_client: str
    billed: int = 0
    received: int = 0
    refused: int = 0
    suppressed: int = 0
    delivered: int = 0
    bounced: int = 0
    expired: int = 0
    cancelled: int = 0
    deferred: int = 0
    in_doubt: int = 0
    returned: int = 0
    complained: int = 0
    unsubscribed: int = 0
    forwarded: int = 0
    bytes: int = 0
    # The counts by counter and detail. The details of `refused` are rules, the details of
    # `suppressed` are reasons, and the details of `bounced` are bounce classes.
    details: dict[str, dict[str, int]] = field(default_factory=dict)
    day: str = ""  # YYYY-MM-DD, or "" if the row is for the whole month


class CountingProgress(Struct, frozen=True):
    """The progress of counting: the watermark and the hole of each partition, and the id of the log
    that is counted. `whole` is False if some counts are lost."""

    whole: bool
    log: str
    watermarks: dict[int, int]
    holes: dict[int, str]


class Usage(Struct, frozen=True):
    """The counts of a month.

    `complete` is True if the counts include every event that was committed when the query arrived.
    Otherwise `reason` says what is missing. `lag` is the number of records in each partition that
    are not counted yet. `closed` is True if the counts come from the statement. In this case, the
    other fields, too, describe the moment of the close.
    """

    month: str
    complete: bool
    reason: str
    lag: dict[int, int]
    rows: list[Row]
    closed: bool = False


def rows(cells: Mapping[str, int], client: str = "") -> list[Row]:
    """Return the sorted rows of a month, made from its cells. If `client` is not "", return only
    the rows of this client.

    Cells with counters that this version does not know are ignored.
    """
    return gather(((decode_cell(name), number) for name, number in cells.items()), client)


def day_rows(month: str, cells: Mapping[str, int], client: str = "") -> list[Row]:
    """Return one row for each mailing and day, sorted by mailing and then by day."""
    decoded = ((decode_cell(name), number) for name, number in cells.items())
    return gather(decoded, client, month)


def gather(cells: Iterable[tuple[Cell, int]], client: str = "", month: str = "") -> list[Row]:
    """Sum the cells per mailing. If `month` (YYYY-MM) is given, sum them per mailing and day."""
    counts: dict[RowKey, dict[str, int]] = {}
    details: dict[RowKey, dict[str, dict[str, int]]] = {}
    for cell, number in cells:
        if cell.counter not in COUNTERS or client not in ("", cell.client):
            continue
        day = f"{month}-{cell.day}" if month and cell.day else ""
        key = (cell.client, cell.mailing_id, cell.sub_client, day)
        found = counts.setdefault(key, {})
        if cell.detail:
            found = details.setdefault(key, {}).setdefault(cell.counter, {})
        name = cell.detail or cell.counter
        found[name] = found.get(name, 0) + number
    return [_row(key, counts[key], details.get(key, {})) for key in sorted(counts)]


def _row(key: RowKey, counts: dict[str, int], details: dict[str, dict[str, int]]) -> Row:
    ordered = {counter: dict(sorted(details[counter].items())) for counter in sorted(details)}
    keys = dict(zip((*KEYS, "day"), key, strict=True))
    return msgspec.convert({**keys, **counts, "details": ordered}, Row)


def as_csv(month: str, rows: Iterable[Row]) -> str:
    """Return CSV (RFC 4180): a header line, then the rows. All lines end with CRLF. Names are
    written in a form that a spreadsheet does not read as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        names = [safe(getattr(row, name)) for name in COLUMNS[1:4]]
        writer.writerow([month, *names, *(getattr(row, name) for name in COUNTERS)])
    return text.getvalue()


def lag(standing: CountingProgress, ends: dict[int, int]) -> dict[int, int]:
    """Return the number of records between the watermark and the end of each partition."""
    return {
        partition: max(0, end - standing.watermarks.get(partition, 0))
        for partition, end in sorted(ends.items())
    }


def other_log(counted: str, present: str) -> str:
    """Return the text that says that the present mail.events is not the log of the cells."""
    return (
        f"mail.events is another log ({present}) than the log of the counts ({counted}): adopt-log"
        " keeps the counts and continues with this log, rebuild --lose-counts drops them"
    )


def why_incomplete(standing: CountingProgress, month: str, log: str, ends: dict[int, int]) -> str:
    """Return the reason why the cells of `month` do not include all events before `ends`. Return ""
    if the cells include all these events."""
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
