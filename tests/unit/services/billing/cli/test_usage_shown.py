"""`billing usage` as a person reads it."""

from __future__ import annotations

import msgspec
import pytest

from services.billing.cli.counts import usage_lines
from services.billing.cli.months import ShownMonth, month_lines, statement_lines
from services.billing.cli.stated import stated_usage
from services.billing.core.answer import CountingProgress, Row, Usage, why_incomplete
from services.billing.core.cells import COUNTERS, Cell, encode_cell
from services.billing.core.month import MonthState
from tests.support.billing.api import FakeBooks
from tests.support.billing.statements import statement_of


def row(client: str, mailing_id: str, sub_client: str, counts: dict[str, int]) -> Row:
    named = {"client": client, "mailing_id": mailing_id, "sub_client": sub_client}
    return msgspec.convert({**named, **counts}, Row)


FOUND = Usage(
    "2026-10",
    True,
    "",
    {},
    [
        row("acme", "autumn-campaign", "berlin", dict.fromkeys(COUNTERS, 1_234_567)),
        row("bank", "standard", "", dict.fromkeys(COUNTERS, 0)),
    ],
)


def test_a_narrow_terminal_gets_a_few_lines_per_row() -> None:
    lines = usage_lines(FOUND, "", 80)
    assert lines[:4] == [
        "usage of 2026-10",
        "",
        "client / mailing ID / sub-client",
        "acme / autumn-campaign / berlin",
    ]
    assert "bank / standard" in lines


def test_a_counter_that_is_0_in_all_rows_is_left_out() -> None:
    zeros = dict.fromkeys(COUNTERS, 0) | {"billed": 7, "delivered": 6}
    shown = Usage("2026-10", True, "", {}, [row("acme", "M-1", "", zeros)])
    assert usage_lines(shown, "", 80) == [
        "usage of 2026-10",
        "",
        "client  mailing ID  sub-client  billed  received  delivered",
        "acme    M-1                          7         0          6",
        "",
        "in all: 7 billed, 0 received, 6 delivered",
    ]


def test_the_counts_of_a_statement_are_named_so() -> None:
    shown = Usage("2026-10", True, "", {}, FOUND.rows, closed=True)
    lines = usage_lines(shown, "", 80)
    assert lines[0] == "usage of 2026-10, closed: the counts of its statement"
    assert "in all: 1234567 billed, 1234567 received" in "\n".join(lines)


def test_the_list_of_months_says_what_is_billed_and_what_is_missing() -> None:
    shown = [
        ShownMonth("2026-09", MonthState.CLOSED, True, 994, 12, "a" * 64, 528, True),
        ShownMonth("2026-10", MonthState.CLOSED, False, 1, 0, "b" * 64, 1, False),
        ShownMonth("2026-11", MonthState.OPEN),
    ]
    assert [line.split() for line in month_lines(shown, 200)[1:]] == [
        ["2026-09", "closed", "yes", "yes", "528", "994", "12", "a" * 64],
        ["2026-10", "closed", "NO", "NO", "1", "1", "0", "b" * 64],
        ["2026-11", "open"],
    ]


@pytest.mark.parametrize("was_closed", [False, True])
def test_a_close_says_whether_the_month_was_closed_before(was_closed: bool) -> None:
    found = statement_of("2026-10", [], closed_at_ms=1_795_990_234_931)
    first, *_ = statement_lines(found, was_closed=was_closed)
    word = "was closed before, on 2026-11-29T22:10:34Z (UTC)" if was_closed else "is closed (UTC)"
    assert first == f"2026-10 {word}: nothing was counted"


def test_a_closed_month_has_the_lines_of_its_own_statement_about_itself() -> None:
    def name(counter: str, day: str) -> str:
        return encode_cell(Cell("shop", "news", "", counter, day))

    books = FakeBooks()
    earlier = {name("billed", "30"): 5}
    own = {name("billed", "01"): 3, name("billed", "02"): 4, name("received", "01"): 9}
    closed = books.close_month("2026-10", {"2026-09": earlier, "2026-10": own})
    found = stated_usage(closed, "")
    assert (found.closed, found.complete) == (True, True)
    assert [(row.client, row.billed, row.received) for row in found.rows] == [("shop", 7, 9)]
    assert stated_usage(closed, "bank").rows == []


@pytest.mark.parametrize(
    ("client", "sentence"),
    [
        ("", "nothing is counted for 2026-10"),
        ("acme", "nothing is counted for 2026-10, client acme"),
    ],
)
def test_a_month_without_counts_is_a_sentence(client: str, sentence: str) -> None:
    assert usage_lines(Usage("2026-10", True, "", {}, []), client, 80) == [sentence]


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ({0: 1}, "1 record of 1 partition is not counted yet"),
        ({0: 2}, "2 records of 1 partition are not counted yet"),
        ({0: 2, 1: 1}, "3 records of 2 partitions are not counted yet"),
    ],
)
def test_what_is_not_counted_yet_is_a_sentence(ends: dict[int, int], reason: str) -> None:
    assert why_incomplete(CountingProgress(True, "log", {}, {}), "2026-10", "log", ends) == reason
