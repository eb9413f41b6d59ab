"""`billing usage` as a person reads it."""

from __future__ import annotations

import msgspec
import pytest

from services.billing.cli.counts import usage_lines
from services.billing.core.answer import CountingProgress, Usage, why_incomplete
from services.billing.core.cells import COUNTERS
from services.billing.core.rows import Row


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
    ]


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
