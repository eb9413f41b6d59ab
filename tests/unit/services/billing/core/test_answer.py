"""Cells as rows, as CSV, and whether they are complete."""

from __future__ import annotations

import pytest

from services.billing.core.answer import (
    CountingProgress,
    Row,
    as_csv,
    day_rows,
    lag,
    rows,
    why_incomplete,
)
from services.billing.core.cells import COUNTERS, Cell, encode_cell


def test_cells_from_before_there_were_days_count_in_their_month() -> None:
    cells = {'["shop","news","","billed"]': 3, '["shop","news","","billed","02",""]': 1}
    assert [(row.day, row.billed) for row in rows(cells)] == [("", 4)]
    assert [(row.day, row.billed) for row in day_rows("2026-11", cells)] == [
        ("", 3),
        ("2026-11-02", 1),
    ]


def test_rows_come_in_order_and_only_of_the_client_asked_for() -> None:
    cells = {
        encode_cell(Cell("b", "m", "", "billed")): 2,
        encode_cell(Cell("a", "n", "", "delivered")): 1,
        encode_cell(Cell("a", "m", "s", "received")): 4,
        encode_cell(Cell("a", "m", "s", "billed")): 3,
        encode_cell(Cell("a", "m", "s", "of_a_later_version")): 9,
    }
    assert rows(cells) == [
        Row("a", "m", "s", billed=3, received=4),
        Row("a", "n", "", delivered=1),
        Row("b", "m", "", billed=2),
    ]
    assert rows(cells, "b") == [Row("b", "m", "", billed=2)]


def test_a_row_has_every_counter_in_its_order() -> None:
    assert Row.__struct_fields__[3:] == (*COUNTERS, "details", "day")


def test_csv_quotes_what_needs_it() -> None:
    assert as_csv("2026-11", [Row('a,"b"', "m", "s", billed=3)]).splitlines() == [
        "month,client,mailing_id,sub_client,billed,received,refused,suppressed,delivered,"
        "bounced,expired,cancelled,deferred,in_doubt,returned,complained,unsubscribed,forwarded,bytes",
        '2026-11,"a,""b""",m,s,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0',
    ]


def test_csv_has_no_name_that_a_spreadsheet_takes_for_a_formula() -> None:
    row = as_csv("2026-11", [Row("=1+1", "@x", "a;=2", billed=3)]).splitlines()[1]
    assert row.startswith("2026-11,'=1+1,'@x,a;'=2,3,")


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (CountingProgress(True, "log", {0: 10, 1: 5}, {}), ""),
        (
            CountingProgress(True, "log", {0: 12, 1: 5}, {}),
            "",
        ),  # counted since the end offsets were read
        (CountingProgress(True, "log", {0: 10, 1: 5}, {0: "2026-10"}), ""),
        (CountingProgress(True, "log", {0: 9, 1: 5}, {}), "1 record of 1 partition"),
        (CountingProgress(True, "log", {0: 10}, {}), "5 records of 1 partition"),
        (CountingProgress(True, "", {}, {}), "15 records of 2 partitions"),
        (CountingProgress(False, "log", {0: 10, 1: 5}, {}), "lost"),
        (CountingProgress(True, "older", {0: 10, 1: 5}, {}), "another log"),
        (CountingProgress(True, "log", {0: 10, 1: 5}, {1: "2026-11"}), "deleted"),
        (CountingProgress(True, "log", {0: 10, 1: 5}, {1: "2026-12"}), "deleted"),
    ],
)
def test_an_answer_that_is_not_whole_says_why(standing: CountingProgress, words: str) -> None:
    reason = why_incomplete(standing, "2026-11", "log", {0: 10, 1: 5})
    assert bool(reason) is bool(words)
    assert words in reason


def test_lag_is_told_for_every_partition() -> None:
    assert lag(CountingProgress(True, "log", {0: 10, 2: 9}, {}), {2: 8, 0: 12, 1: 3}) == {
        0: 2,
        1: 3,
        2: 0,
    }
