"""Records of mail.events that count nothing: what cannot be read, and what is unknown."""

from __future__ import annotations

from datetime import UTC

import msgspec
import pytest

from services.billing.core.cells import encode_cell
from services.billing.core.month import Months
from services.billing.core.recount import Recount
from services.billing.core.usage import MAX_BYTES, MAX_NAME_CHARS, MAX_RECEIVED, count
from shared.topics.records import EventType
from tests.support.billing.records import NOON, FakeRecord, event, tally

UTC_MONTHS = Months(UTC)


@pytest.mark.parametrize(
    "record",
    [
        event(EventType.DELIVERED, size_bytes=MAX_BYTES + 1),
        event(EventType.DELIVERED, size_bytes=-1),
        event(EventType.DELIVERED, sub_client="x" * (MAX_NAME_CHARS + 1)),
        tally(("shop", "news", "", MAX_RECEIVED + 1)),
        tally(("shop", "news", "", -1)),
        tally(("shop", "x" * (MAX_NAME_CHARS + 1), "", 1)),
    ],
)
def test_a_value_that_no_store_takes_is_unreadable_in_both_ways_of_counting(
    record: FakeRecord,
) -> None:
    assert count([record], UTC_MONTHS).unreadable == 1
    again = Recount(UTC_MONTHS)
    again.add(record)
    assert (again.unreadable, again.take()) == (1, [])


@pytest.mark.parametrize(
    "odd",
    [
        {"recipient": None},
        {"attempt": "x"},
        {"metadata": [1]},
        {"held": "x"},
        {"next_attempt_at_ms": 1e30},
        {"origin": 7, "versions": []},
        {"rules": [{"rule": "R4"}]},
        {"rules": [{"rule": "R4", "reason": None}]},
    ],
)
def test_a_field_that_is_not_counted_does_not_decide_whether_an_event_is(
    odd: dict[str, object],
) -> None:
    """Otherwise the live count and the proof of a statement would differ for ever."""
    data = {"client": "shop", "at_ms": NOON, "first_dispatch": True, **odd}
    names = ("ce_id", "ce_source", "ce_type", "ce_type")
    texts = (b"x", b"/test", b"sluice.mail.refused", b"sluice.tally")
    record = FakeRecord(list(zip(names, texts, strict=True)), msgspec.json.encode(data))
    live = count([record], UTC_MONTHS)
    again = Recount(UTC_MONTHS)
    assert again.add(record) is not None
    found = [(month, encode_cell(cell), number) for month, cell, number in again.take()]
    assert (live.unreadable, again.unreadable) == (0, 0)
    assert sorted(found) == sorted(each for each in live.increments() if each[2])


def test_a_tally_whose_ids_cannot_be_read_counts_in_both_ways() -> None:
    data = {"service": "validate", "at_ms": NOON, "rows": [["shop", "news", "", 3, [1, None]]]}
    record = FakeRecord([("ce_type", b"sluice.tally")], msgspec.json.encode(data))
    again = Recount(UTC_MONTHS)
    again.add(record)
    assert count([record], UTC_MONTHS).unreadable == again.unreadable == 0
    assert [number for _, _, number in again.take()] == [3]


def test_records_of_an_unknown_type_are_ignored_and_their_number_is_returned() -> None:
    unknown = [
        FakeRecord([("ce_type", b"sluice.mail.unheard")], b"{}"),
        FakeRecord([("ce_type", b"com.example")], b"{}"),
        FakeRecord([], b""),
    ]
    found = count([*unknown, event(EventType.DUPLICATE)], UTC_MONTHS)
    assert (found.unknown, found.unreadable, found.increments()) == (3, 0, ())


@pytest.mark.parametrize(
    ("record", "unreadable"),
    [
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b"{"), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], None), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b'{"client":7}'), 1),
        (FakeRecord([("ce_type", b"sluice.mail.unheard")], b"[]"), 0),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b'{"client":"\xff"}'), 1),
        (FakeRecord([("ce_type", b"sluice.mail.delivered")], b'{"x":' + b"[" * 100_000), 1),
        (FakeRecord([("ce_type", b"sluice.tally")], b"no"), 1),
        (FakeRecord([("ce_type", b"sluice.tally")], b'{"service":"\xff"}'), 1),
        (FakeRecord([("ce_type", b"sluice.tally")], b'{"x":' + b"[" * 100_000), 1),
        (
            FakeRecord(
                [("ce_type", b"sluice.mail.delivered")],
                b'{"client":"shop","at_ms":1000000000000000000}',
            ),
            1,
        ),
        (
            FakeRecord(
                [("ce_type", b"sluice.tally")],
                b'{"service":"validate","at_ms":1000000000000000000,"rows":[["shop","","",1]]}',
            ),
            1,
        ),
        (FakeRecord([("ce_type", b"sluice.other")], b"{"), 0),
        (FakeRecord([("ce_type", b"com.example.else")], b"{"), 0),
        (FakeRecord([], b"{}"), 0),
        (FakeRecord([], None), 0),
    ],
)
def test_what_cannot_be_read_is_told_and_the_rest_counted(
    record: FakeRecord, unreadable: int
) -> None:
    found = count([record, event(EventType.DELIVERED)], UTC_MONTHS)
    assert found.unreadable == unreadable
    assert [number for _, _, number in found.increments()] == [1]
    again = Recount(UTC_MONTHS)
    again.add(record)
    assert again.take() == []
