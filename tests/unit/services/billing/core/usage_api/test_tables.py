"""Usage as a table: what is invoiced under the names of FOCUS, and the forms of CSV."""

from __future__ import annotations

import csv
import io
from calendar import monthrange
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.cells import BILLED, COUNTERS
from services.billing.core.month import Months
from services.billing.core.usage_api.tables import (
    BOM,
    FOCUS_COLUMNS,
    Stamp,
    Table,
    UsageRow,
    csv_lines,
    days_of,
    file_name,
    focus_table,
)

MONTHS = Months(UTC)
STAMP = Stamp(1_790_000_000_999, complete=False)
TEXTS = st.text(st.sampled_from("=+-@＝;,|\t \"'ab\r\n"), max_size=8)


FORMULA = ("=", "+", "-", "@", "＝")


def bare(text: str) -> str:
    return text.replace("'", "")


def row(*key: str, **counts: int) -> UsageRow:
    return UsageRow(key, tuple(counts.get(name, 0) for name in COUNTERS), {})


def focus(group: tuple[str, ...], *rows: UsageRow) -> list[dict[str, str | int]]:
    table = focus_table(group, rows, STAMP, MONTHS)
    return [dict(zip(table.columns, line, strict=True)) for line in table.rows]


def test_a_row_of_focus_has_the_billed_messages_of_its_day_and_who_sent_them() -> None:
    group = ("month", "day", "client", "mailing_id", "sub_client")
    found = focus(
        group, row("2026-02", "2026-02-28", "shop", "news", "south", billed=7, received=9)
    )
    assert [{name: line[name] for name in FOCUS_COLUMNS if name in EXPECTED} for line in found] == [
        EXPECTED
    ]


EXPECTED = {
    "BillingPeriodStart": "2026-02-01T00:00:00Z",
    "BillingPeriodEnd": "2026-03-01T00:00:00Z",
    "ChargePeriodStart": "2026-02-28T00:00:00Z",
    "ChargePeriodEnd": "2026-03-01T00:00:00Z",
    "BillingAccountId": "shop",
    "SubAccountId": "south",
    "ResourceId": "news",
    "ConsumedQuantity": 7,
    "PricingQuantity": 7,
    "BilledCost": "",
    "x_Complete": "false",
    "x_AsOf": "2026-09-21T14:13:20Z",
}


def test_without_a_day_the_charge_is_that_of_the_whole_month_and_keys_may_be_missing() -> None:
    (found,) = focus(("month", "client"), row("2026-12", "shop", billed=1))
    assert found["ChargePeriodStart"] == found["BillingPeriodStart"] == "2026-12-01T00:00:00Z"
    assert found["ChargePeriodEnd"] == found["BillingPeriodEnd"] == "2027-01-01T00:00:00Z"
    assert (found["SubAccountId"], found["ResourceId"]) == ("", "")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_focus_has_as_many_messages_as_were_billed_and_no_row_without_any(
    numbers: list[tuple[int, int]],
) -> None:
    rows = [row("2026-07", billed=billed, refused=refused) for billed, refused in numbers]
    found = focus(("month",), *rows)
    assert all(line["ConsumedQuantity"] for line in found)
    billed = COUNTERS.index(BILLED)
    assert sum(int(line["ConsumedQuantity"]) for line in found) == sum(
        each.counts[billed] for each in rows
    )


@given(st.lists(st.tuples(TEXTS, st.integers(-5, 5)), max_size=5), st.booleans())
def test_a_spreadsheet_reads_as_many_rows_with_their_numbers_and_no_formula(
    rows: list[tuple[str, int]], is_european: bool
) -> None:
    text = b"".join(csv_lines(Table(("a", "b"), 1, rows), is_european=is_european)).decode()
    assert text.startswith(BOM) == is_european
    lines = csv.reader(
        io.StringIO(text.removeprefix(BOM), newline=""), delimiter=";" if is_european else ","
    )
    assert next(lines) == ["a", "b"]
    found = list(lines)
    assert [number for _, number in found] == [str(number) for _, number in rows]
    assert [name.replace("'", "") for name, _ in found] == [
        name.replace("'", "") for name, _ in rows
    ]
    assert not [
        name for name, _ in found if name.lstrip(" ").startswith(("=", "+", "-", "@", "＝"))
    ]


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1_200])
def test_a_long_file_comes_in_pieces_and_has_every_row_once(count: int) -> None:
    pieces = list(csv_lines(Table(("n",), 0, ((number,) for number in range(count)))))
    assert b"".join(pieces).split(b"\r\n")[1:-1] == [b"%d" % number for number in range(count)]
    assert len(pieces) == count // 500 + 1


@pytest.mark.parametrize(
    ("months", "suffix", "name"),
    [
        (("2026-07",), ".csv", "usage-2026-07.csv"),
        (("2025-11", "2025-12", "2026-01"), ".focus.csv", "usage-2025-11-to-2026-01.focus.csv"),
    ],
)
def test_a_download_is_named_after_its_months(
    months: tuple[str, ...], suffix: str, name: str
) -> None:
    assert file_name(months, suffix) == name


@given(st.integers(1970, 2100), st.integers(1, 12))
def test_a_month_has_the_days_of_the_calendar(year: int, month: int) -> None:
    assert days_of(f"{year}-{month:02d}") == monthrange(year, month)[1]
