"""The demo's reconciliation: published messages, events, bill and sink journal must agree."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from local.demo.reconciliation import (
    Returns,
    Row,
    SinkCount,
    Witness,
    reconcile,
    result,
    witness,
)

BERLIN: Row = ("acme", "M-1", "berlin")
BANK: Row = ("bank", "N-1", "")
ROWS = {"a@x.example": BERLIN, "b@x.example": BERLIN, "c@x.example": BANK}


def line(rcpt: str, verdict: str) -> dict[str, Any]:
    return {"rcpt": rcpt, "verdict": verdict, "message_id": "", "stage": "data"}


@pytest.mark.parametrize(
    ("journal", "dispatched", "sink", "strangers"),
    [
        ([], {}, (0, 0), 0),
        ([("a@x.example", "accepted")], {BERLIN: 1}, (1, 0), 0),
        ([("a@x.example", "deferred"), ("a@x.example", "accepted")], {BERLIN: 1}, (1, 0), 0),
        ([("a@x.example", "bounced")], {BERLIN: 1}, (0, 0), 0),
        ([("a@x.example", "accepted"), ("a@x.example", "accepted")], {BERLIN: 1}, (2, 1), 0),
        (
            [("a@x.example", "dropped"), ("c@x.example", "accepted")],
            {BERLIN: 1, BANK: 1},
            (1, 0),
            0,
        ),
        ([("who@x.example", "accepted")], {}, (1, 0), 1),
    ],
)
def test_the_journal_is_read_by_recipient(
    journal: list[tuple[str, str]],
    dispatched: dict[Row, int],
    sink: tuple[int, int],
    strangers: int,
) -> None:
    seen = witness([line(*each) for each in journal], ROWS)
    assert seen == Witness(Counter(dispatched), SinkCount(*sink), strangers)


OK = Witness(Counter({BERLIN: 2, BANK: 1}), SinkCount(2, 0), 0)
FINALS = {"delivered": 2, "bounced": 1, "refused": 1}
BILLED = {BERLIN: 2, BANK: 1}


def test_accounts_that_agree_have_no_difference() -> None:
    reckoning = reconcile(4, FINALS, 0, BILLED, OK)
    assert reckoning.differences == ()
    assert result(reckoning, 4, 1.23).agree
    assert [row.count for row in result(reckoning, 4, 1.23).billed] == [2, 1]


@pytest.mark.parametrize(
    ("published", "doubled", "billed", "seen", "said"),
    [
        (5, 0, BILLED, OK, "1 of 5 messages without a final event"),
        (4, 1, BILLED, OK, "1 message with more than one final event"),
        (4, 0, {BERLIN: 2}, OK, "bank N-1: billed 0, but the sink answered 1"),
        (4, 0, {**BILLED, BERLIN: 3}, OK, "acme M-1 berlin: billed 3, but the sink answered 2"),
        (
            4,
            0,
            BILLED,
            Witness(OK.dispatched, SinkCount(3, 1), 0),
            "the sink accepted 1 duplicate",
        ),
        (
            4,
            0,
            BILLED,
            Witness(OK.dispatched, SinkCount(1, 0), 0),
            "delivered 2, but the sink accepted 1",
        ),
        (
            4,
            0,
            BILLED,
            Witness(OK.dispatched, SinkCount(2, 0), 3),
            "the sink received mail to 3 recipients that the demo did not publish",
        ),
    ],
)
def test_every_difference_is_named(
    published: int, doubled: int, billed: dict[Row, int], seen: Witness, said: str
) -> None:
    reckoning = reconcile(published, FINALS, doubled, billed, seen)
    assert reckoning.differences == (said,)
    found = result(reckoning, published, 1)
    assert not found.agree
    assert found.waiting == published - sum(FINALS.values())


def test_each_bounce_is_the_end_of_a_message_and_forwarded_mail_is_no_message() -> None:
    journal = [line("a@x.example", "bounced") for _ in range(3)]
    journal += [{**line("back@o.example", "accepted"), "message_id": each} for each in ("1", "2")]
    seen = witness(journal, ROWS, {"back@o.example"})
    assert seen == Witness(Counter({BERLIN: 3}), SinkCount(0, 0), 0, forwarded=2)
    again = witness(journal + journal[-1:], ROWS, {"back@o.example"})
    assert (again.sink.duplicates, again.forwarded) == (1, 2)


@pytest.mark.parametrize(
    ("returns", "arrived", "said"),
    [
        (Returns(2, 1, {"returned": 2, "complained": 1}, 3, 3), 3, ()),
        (
            Returns(1, 1, {"returned": 1, "complained": 1}, 3, 2),
            2,
            ("2 reports came back, but the sink sent 3",),
        ),
        (
            Returns(1, 0, {"returned": 1}, 1, 1),
            0,
            (
                "messages to be forwarded: 1, forwarded according to the events: 1, received by"
                " the sink: 0",
            ),
        ),
        (
            Returns(1, 0, {}, 1, 1),
            1,
            (
                "messages to be forwarded: 1, forwarded according to the events: 0, received by"
                " the sink: 1",
            ),
        ),
    ],
)
def test_what_came_back_and_was_forwarded_must_agree(
    returns: Returns, arrived: int, said: tuple[str, ...]
) -> None:
    seen = Witness(OK.dispatched, OK.sink, 0, arrived)
    assert reconcile(4, FINALS, 0, BILLED, seen, returns).differences == said
