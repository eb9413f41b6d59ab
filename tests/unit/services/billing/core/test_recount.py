"""Counting a second time finds every difference."""

from __future__ import annotations

from datetime import UTC

import pytest

from services.billing.core.cells import Cell, decode_cell
from services.billing.core.month import Months
from services.billing.core.recount import Recount
from services.billing.core.usage import count
from shared.audit.conservation import Doubles
from shared.topics.codec import decode_event
from shared.topics.records import Event, EventType
from tests.support.billing.records import FakeRecord, event, tally

UTC_MONTHS = Months(UTC)


def counters(again: Recount) -> dict[str, int]:
    """What was counted, summed over all times that it was taken."""
    found: dict[str, int] = {}
    for _, cell, number in again.take():
        found[cell.counter] = found.get(cell.counter, 0) + number
    return found


def test_what_was_counted_is_taken_once() -> None:
    again = Recount(UTC_MONTHS)
    again.add(event(EventType.DELIVERED))
    assert again.take() == [("2026-11", Cell("shop", "news", "", "delivered", "15"), 1)]
    assert (len(again), again.take()) == (0, [])


def test_a_recount_counts_a_mail_with_two_final_events_once() -> None:
    again = Recount(UTC_MONTHS)
    records = [
        event(EventType.DELIVERED, first_dispatch=True),
        event(EventType.BOUNCED),
        event(EventType.DELIVERED, first_dispatch=True),
        event(EventType.DEFERRED),
    ]
    for record in records:
        again.add(record)
    mail_id = bytes(16)
    for record in records:
        again.discount(record, Doubles({mail_id: 3}, {mail_id: 2}))
    live = {decode_cell(name).counter: n for _, name, n in count(records, UTC_MONTHS).increments()}
    found = counters(again)
    differences = {name: (found.get(name, 0), live[name]) for name in live}
    assert {name: pair for name, pair in differences.items() if pair[0] != pair[1]} == {
        "billed": (1, 2),
        "bounced": (0, 1),
        "delivered": (1, 2),
    }


def test_a_repeat_is_subtracted_also_after_its_count_was_taken() -> None:
    again = Recount(UTC_MONTHS)
    records = [event(EventType.DELIVERED), event(EventType.DELIVERED)]
    for record in records:
        again.add(record)
    assert counters(again) == {"delivered": 2}
    for record in records:
        again.discount(record, Doubles({bytes(16): 2}, {}))
    assert counters(again) == {"delivered": -1}


def test_only_doubled_mails_are_discounted() -> None:
    again = Recount(UTC_MONTHS)
    record = event(EventType.DELIVERED, first_dispatch=True)
    again.add(record)
    for _ in range(2):
        again.discount(record, Doubles({bytes(15) + b"x": 2}, {}))
    live = {decode_cell(name).counter: n for _, name, n in count([record], UTC_MONTHS).increments()}
    assert counters(again) == live


@pytest.mark.parametrize(
    "record",
    [
        FakeRecord(event(EventType.DELIVERED).headers, b"{"),
        FakeRecord(event(EventType.DELIVERED).headers, b"[" * 100_000),
        FakeRecord([], b"{}"),
        tally(("shop", "news", "", 3)),
    ],
)
def test_a_second_pass_subtracts_nothing_for_what_is_no_event_of_a_mail(
    record: FakeRecord,
) -> None:
    again = Recount(UTC_MONTHS)
    again.add(event(EventType.DELIVERED))
    for _ in range(2):
        again.discount(record, Doubles({bytes(16): 2}, {bytes(16): 2}))
    assert counters(again) == {"delivered": 1}


def test_unreadable_records_are_counted_as_such_and_others_of_the_topic_are_not() -> None:
    again = Recount(UTC_MONTHS)
    assert again.add(FakeRecord(event(EventType.DELIVERED).headers, b"{")) is None
    assert again.add(FakeRecord([("ce_type", b"sluice.quota.warning")], b"{}")) is None
    assert again.add(tally(("shop", "news", "", 3))) is None
    assert (again.records, again.unreadable, counters(again)) == (3, 1, {"received": 3})


TWICE = [("ce_type", b"sluice.mail.delivered"), ("ce_id", b"1")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([*TWICE, ("ce_type", b"sluice.mail.bounced")], {"delivered": 1, "billed": 1}),
        ([*TWICE[::-1], ("ce_type", b"sluice.mail.bounced")], {"delivered": 1, "billed": 1}),
        ([("ce_type", b""), *TWICE], {}),
        ([("ce_type", b"sluice.quota.used_up")], {}),
        ([("ce_type", b"sluice.quota.warning"), *TWICE], {}),
        ([("ce_type", b"sluice.other"), *TWICE], {}),
        ([], {}),
    ],
)
def test_the_first_type_of_a_record_decides_and_only_mail_is_billed(
    headers: list[tuple[str, bytes]], expected: dict[str, int]
) -> None:
    record = FakeRecord(headers, b'{"client":"c","at_ms":1796000000000,"first_dispatch":true}')
    again = Recount(UTC_MONTHS)
    again.add(record)
    increments = count([record], UTC_MONTHS).increments()
    assert {decode_cell(name).counter: number for _, name, number in increments} == expected
    assert counters(again) == expected
    decoded = decode_event(headers, record.value)
    assert (decoded is None) == (not expected)
    assert not isinstance(decoded, Event) or decoded.type is EventType.DELIVERED
