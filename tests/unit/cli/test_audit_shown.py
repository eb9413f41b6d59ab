"""What `audit` says of its verdict."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cli.audit.shown import summary_lines, table_lines
from shared.audit.report import BookFault, BookRow, FaultKind, Report

MISSING = BookFault(FaultKind.MISSING, 2, ["acme/M-1/: +2"])
DOUBLED = BookFault(FaultKind.DOUBLED_FINAL, 1, [])
IN_NO_QUEUE = BookFault(FaultKind.IN_NO_QUEUE, 2, [])
ROW = BookRow("acme", "M-1", "", 5, 0, 0, 3, 0, 0, 0, 2)
EQUATION = "5 received = 3 final + 2 waiting; 3 dispatched"


def report(*faults: BookFault, settled: bool = False) -> Report:
    return Report(not faults, settled, 9, 5, 3, 2, 3, [ROW], list(faults))


@pytest.mark.parametrize(
    ("judged", "lines"),
    [
        (report(), [f"balances: {EQUATION}"]),
        (
            report(MISSING, settled=True),
            [
                f"NOT settled: {EQUATION}",
                "The counts are right so far, but messages still wait: try again later.",
            ],
        ),
        (report(DOUBLED), [f"does NOT balance: {EQUATION}"]),
        (report(DOUBLED, MISSING, settled=True), [f"does NOT balance: {EQUATION}"]),
        (
            replace(report(IN_NO_QUEUE), lost=2),
            [
                "does NOT balance: 5 received = 3 final + 0 waiting + 2 in no queue; 3 dispatched",
                "2 messages have no final event and are in no queue.",
            ],
        ),
        (
            Report(True, False, 0, 0, 0, 0, 0, [], []),
            ["balances: nothing has been received yet"],
        ),
    ],
)
def test_the_verdict_tells_mail_under_way_from_books_that_do_not_balance(
    judged: Report, lines: list[str]
) -> None:
    assert summary_lines(judged) == lines


def test_a_column_without_a_number_is_left_out() -> None:
    assert table_lines(report(), 80) == [
        "received = final events + held + waiting",
        "",
        "client  mailing ID  sub-client  received  delivered  waiting",
        "acme    M-1                            5          3        2",
        "",
    ]
