"""The rows of a usage answer, and the tables that are made of these rows: CSV, XLSX, Parquet and
FOCUS. This module does no I/O.

Rows are read from the views of months, merged and summed up. Every line of a table also has the
moment of the counts, and the word `true` if everything was counted at that moment. So a table can
be understood without the rest of the answer. Numbers are integers. An apostrophe is put before text
that a spreadsheet would read as a formula.
"""

from __future__ import annotations

import csv
import heapq
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from services.billing.core.cells import BILLED, COUNTERS
from services.billing.core.month import Months, next_month
from services.billing.core.usage_api.query import KEYS

Details = dict[str, dict[str, int]]
Value = str | int
# A spreadsheet reads text as a formula if it begins with one of these characters (OWASP, CSV
# injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# A spreadsheet may split a line at these characters, even if the file uses another separator and
# the characters are within quotes.
_HIDDEN_FORMULA: Final = re.compile(r"([;,\t|\r\n])(?=[ \"']*[=+\-@＝＋－＠])")
BOM: Final = "\ufeff"


class UsageRow(Struct, frozen=True, gc=False):
    """One row. `key` has the values by which rows are grouped, in the order of KEYS."""

    key: tuple[str, ...]
    counts: tuple[int, ...]  # in the order of COUNTERS
    details: Details

    def named(self, group: Sequence[str]) -> dict[str, Any]:
        """Return the row as a mapping from names to values, for JSON."""
        values = (*self.key, *self.counts, self.details)
        return dict(zip((*group, *COUNTERS, "details"), values, strict=True))


class Stamp(Struct, frozen=True):
    """The values that are added to every row. `at_ms` is the moment of the counts in Unix
    milliseconds. `complete` is True if the counts were complete."""

    at_ms: int
    complete: bool

    @property
    def columns(self) -> tuple[str, str]:
        """Return the values of `complete` and `as_of` as text."""
        return ("true" if self.complete else "false", utc_text(self.at_ms))


class Table(Struct, frozen=True):
    """Columns and rows. `texts` is the number of text columns at the beginning."""

    columns: tuple[str, ...]
    texts: int
    rows: Iterable[tuple[Value, ...]]
    last_texts: int = 0  # the number of text columns at the end


NO_COUNTS: Final = (0,) * len(COUNTERS)


def merged(months: Sequence[Iterable[UsageRow]]) -> Iterator[UsageRow]:
    """Merge the sorted rows of several months. Rows with equal keys become one row."""
    if len(months) == 1:
        yield from months[0]
        return
    ordered = heapq.merge(*months, key=lambda row: row.key)
    for key, same in groupby(ordered, key=lambda row: row.key):
        yield summed(key, same)


def summed(key: tuple[str, ...], rows: Iterable[UsageRow]) -> UsageRow:
    """Return one row with the sums of the given rows."""
    counts, details = list(NO_COUNTS), Details()
    for row in rows:
        counts = [one + other for one, other in zip(counts, row.counts, strict=True)]
        add_details(details, row.details)
    return UsageRow(key, tuple(counts), details)


def add_details(into: Details, details: Details) -> None:
    for counter, words in details.items():
        found = into.setdefault(counter, {})
        for word, number in words.items():
            found[word] = found.get(word, 0) + number


def totals(rows: Iterable[UsageRow]) -> dict[str, Any]:
    """Return the sum of each counter over all rows, by the counter's name."""
    return summed((), rows).named(())


def usage_table(group: tuple[str, ...], rows: Iterable[UsageRow], stamp: Stamp) -> Table:
    """Return a table of keys, counters and stamp. The table has the same columns for every
    grouping."""

    def line(row: UsageRow) -> tuple[Value, ...]:
        keys = dict(zip(group, row.key, strict=True))
        return (*(keys.get(name, "") for name in KEYS), *row.counts, *stamp.columns)

    columns = (*KEYS, *COUNTERS, "complete", "as_of")
    return Table(columns, len(KEYS), map(line, rows), last_texts=2)


FOCUS_COLUMNS: Final = (
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "BillingAccountId",
    "SubAccountId",
    "ResourceId",
    "ResourceType",
    "ServiceName",
    "ServiceCategory",
    "SkuId",
    "ChargeCategory",
    "ChargeFrequency",
    "ChargeDescription",
    "ConsumedUnit",
    "PricingUnit",
    "BillingCurrency",
    "BilledCost",
    "ConsumedQuantity",
    "PricingQuantity",
    "x_Complete",
    "x_AsOf",
)
_FOCUS_TEXTS: Final = FOCUS_COLUMNS.index("ConsumedQuantity")
_FOCUS_FIXED: Final = (
    "Mailing",
    "Mail dispatch",
    "Other",
    "dispatched-message",
    "Usage",
    "Usage-Based",
    "Messages dispatched",
    "Messages",
    "Messages",
    "",
    "",
)


def focus_table(
    group: tuple[str, ...], rows: Iterable[UsageRow], stamp: Stamp, months: Months
) -> Table:
    """Return a table of the billed messages with the columns of FOCUS. The prices are left out,
    because the invoice adds them.

    `group` must include the month, and may include the day.
    """
    billed = COUNTERS.index(BILLED)

    def line(row: UsageRow) -> tuple[Value, ...]:
        keys = dict(zip(group, row.key, strict=True))
        month, day = keys["month"], keys.get("day", "")
        begin, end = months.begin_ms(month), months.end_ms(month)
        first, last = months.day_range_ms(day) if day else (begin, end)
        times = (utc_text(begin), utc_text(end), utc_text(first), utc_text(last))
        named = (keys.get("client", ""), keys.get("sub_client", ""), keys.get("mailing_id", ""))
        number = row.counts[billed]
        return (*times, *named, *_FOCUS_FIXED, number, number, *stamp.columns)

    shown = (row for row in rows if row.counts[billed])
    return Table(FOCUS_COLUMNS, _FOCUS_TEXTS, map(line, shown), last_texts=2)


def csv_lines(table: Table, *, is_european: bool = False) -> Iterator[bytes]:
    """Yield pieces of CSV (RFC 4180, UTF-8). The European form has semicolons and a byte order
    mark, so that European spreadsheets open the file without a dialog."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";" if is_european else ",", lineterminator="\r\n")
    if is_european:
        text.write(BOM)
    writer.writerow(table.columns)
    for number, row in enumerate(table.rows, 1):
        writer.writerow([safe(value) if isinstance(value, str) else value for value in row])
        if number % 500 == 0:
            yield _taken(text)
    yield _taken(text)


def safe(text: str) -> str:
    """Return the text in a form that no spreadsheet reads as a formula."""
    text = _HIDDEN_FORMULA.sub(r"\1'", text)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def utc_text(at_ms: int) -> str:
    """Return a time in the form of RFC 3339, in UTC and whole seconds."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def file_name(months: tuple[str, ...], suffix: str, *kinds: str) -> str:
    """Return the file name of a download. `kinds` are words in the name that distinguish this file
    from other files."""
    span = months[0] if len(months) == 1 else f"{months[0]}-to-{months[-1]}"
    return f"{'-'.join(('usage', span, *kinds))}{suffix}"


def days_of(month: str) -> int:
    """Return the number of days of a month."""
    begin = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
    after = next_month(month)
    return (datetime(int(after[:4]), int(after[5:]), 1, tzinfo=UTC) - begin).days


def _taken(text: io.StringIO) -> bytes:
    found = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return found
