"""Rows: the cells of a month, gathered per mailing, or per mailing and day; and as CSV.

As CSV there is one line per mailing, always the same columns in the same order.
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

KEYS: Final = ("client", "mailing_id", "sub_client")

RowKey = tuple[str, str, str, str]  # client, mailing ID, sub-client, day
COLUMNS: Final = ("month", "client", "mailing_id", "sub_client", *COUNTERS)


class Row(Struct, frozen=True):
    """The counts of one mailing in one month, or on one day of it (YYYY-MM-DD)."""

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
    # By counter: refused by rule, suppressed by reason, bounced by class.
    details: dict[str, dict[str, int]] = field(default_factory=dict)
    day: str = ""  # "" for the whole month


def rows(cells: Mapping[str, int], client: str = "") -> list[Row]:
    """The rows of a month from its cells, in order; only those of `client` if it is given.

    Cells with counters that this version does not know are ignored.
    """
    return gather(((decode_cell(name), number) for name, number in cells.items()), client)


def day_rows(month: str, cells: Mapping[str, int], client: str = "") -> list[Row]:
    """The same for each day: in order of the mailings, then of the days."""
    decoded = ((decode_cell(name), number) for name, number in cells.items())
    return gather(decoded, client, month)


def gather(cells: Iterable[tuple[Cell, int]], client: str = "", month: str = "") -> list[Row]:
    """Gather cells per mailing; with a month (YYYY-MM), per mailing and day."""
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
    """RFC 4180: a header line, then the rows; lines end in CRLF. No name is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        names = [safe(getattr(row, name)) for name in COLUMNS[1:4]]
        writer.writerow([month, *names, *(getattr(row, name) for name in COUNTERS)])
    return text.getvalue()
