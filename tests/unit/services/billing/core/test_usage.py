"""What a batch of events adds to each month and mailing."""

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.answer import day_rows, rows
from services.billing.core.cells import Cell, decode_cell, encode_cell
from services.billing.core.month import Months
from services.billing.core.recount import Recount
from services.billing.core.usage import count
from shared.topics.records import EventType
from tests.support.billing.records import NOON, FakeRecord, event, ms, tally

UTC_MONTHS = Months(UTC)


def counted(*records: FakeRecord, months: Months = UTC_MONTHS) -> dict[tuple[str, str], int]:
    """(month, counter) -> count, over all mailings and days, without the details."""
    found: dict[tuple[str, str], int] = {}
    for month, name, number in count(records, months).increments():
        if decode_cell(name).detail:
            continue
        key = month, decode_cell(name).counter
        found[key] = found.get(key, 0) + number
    return found


@pytest.mark.parametrize(
    "kind",
    [
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.EXPIRED,
        EventType.CANCELLED,
        EventType.REFUSED,
        EventType.SUPPRESSED,
        EventType.DEFERRED,
        EventType.IN_DOUBT,
        EventType.RETURNED,
        EventType.COMPLAINED,
        EventType.UNSUBSCRIBED,
        EventType.FORWARDED,
    ],
)
def test_each_outcome_is_counted_under_its_own_name(kind: EventType) -> None:
    assert counted(event(kind), event(kind)) == {("2026-11", kind.value): 2}


def test_a_duplicate_is_not_counted() -> None:
    assert counted(event(EventType.DUPLICATE)) == {}


@pytest.mark.parametrize(
    ("kind", "fields", "details"),
    [
        (EventType.BOUNCED, {"bounce_class": "hard"}, {"hard"}),
        (EventType.BOUNCED, {"bounce_class": "soft", "reason": "550 no"}, {"soft"}),
        (EventType.BOUNCED, {}, set()),
        (EventType.REFUSED, {"rules": [{"rule": "R4", "reason": "From"}]}, {"R4"}),
        (
            EventType.REFUSED,
            {"rules": [{"rule": "R4", "reason": ""}, {"rule": "R10", "reason": ""}] * 2},
            {"R4", "R10"},
        ),
        (EventType.REFUSED, {"reason": "not for every eye"}, {"other"}),
        (EventType.SUPPRESSED, {"reason": "block_list"}, {"block_list"}),
        (EventType.SUPPRESSED, {"reason": "-x"}, {"other"}),
        (EventType.SUPPRESSED, {"reason": "x" * 33}, {"other"}),
        (EventType.SUPPRESSED, {"reason": "ümlaut"}, {"other"}),
        (EventType.DELIVERED, {"reason": "late", "bounce_class": "hard"}, set()),
    ],
)
def test_a_refusal_counts_by_rule_a_suppression_by_reason_a_bounce_by_class(
    kind: EventType, fields: dict[str, Any], details: set[str]
) -> None:
    record = event(kind, "shop", **fields)
    (row,) = rows({name: number for _, name, number in count([record], UTC_MONTHS).increments()})
    assert getattr(row, kind.value) == 1
    assert row.details == ({kind.value: dict.fromkeys(details, 1)} if details else {})


def test_the_bytes_of_a_billed_message_count_once_and_on_the_day_of_its_dispatch() -> None:
    first = event(
        EventType.DEFERRED, first_dispatch=True, first_dispatched_at_ms=NOON, size_bytes=300
    )
    later = event(EventType.DELIVERED, at_ms=NOON + 40 * 86_400_000, size_bytes=300)
    found = counted(first, later)
    assert found["2026-11", "bytes"] == 300
    assert ("2026-12", "bytes") not in found


def test_each_day_has_cells_of_its_own() -> None:
    cells = {
        name: number
        for _, name, number in count(
            [event(EventType.DELIVERED), event(EventType.DELIVERED, at_ms=NOON + 86_400_000)],
            UTC_MONTHS,
        ).increments()
    }
    assert [(row.day, row.delivered) for row in day_rows("2026-11", cells)] == [
        ("2026-11-15", 1),
        ("2026-11-16", 1),
    ]
    assert [row.delivered for row in rows(cells)] == [2]


def test_only_the_event_of_the_first_dispatch_is_billed() -> None:
    first = event(EventType.DEFERRED, first_dispatch=True, first_dispatched_at_ms=NOON)
    later = event(EventType.DELIVERED, first_dispatched_at_ms=NOON)
    assert counted(first, later) == {
        ("2026-11", "billed"): 1,
        ("2026-11", "deferred"): 1,
        ("2026-11", "delivered"): 1,
    }


def test_billed_falls_in_the_month_of_the_dispatch_and_the_outcome_in_its_own() -> None:
    told = event(
        EventType.DELIVERED,
        at_ms=ms("2026-12-01T00:00:01+00:00"),
        first_dispatch=True,
        first_dispatched_at_ms=ms("2026-11-30T23:59:59.999+00:00"),
    )
    assert counted(told) == {("2026-11", "billed"): 1, ("2026-12", "delivered"): 1}


def test_a_first_dispatch_of_a_type_not_counted_is_billed_all_the_same() -> None:
    told = event(EventType.DUPLICATE, first_dispatch=True, first_dispatched_at_ms=NOON)
    assert counted(told) == {("2026-11", "billed"): 1}


def test_months_and_mailings_do_not_mix() -> None:
    found = count(
        [
            event(EventType.DELIVERED, sub_client="north"),
            event(EventType.DELIVERED, sub_client="south"),
            event(EventType.DELIVERED, client="other"),
            tally(("shop", "news", "north", 7), ("shop", "offers", "", 2)),
        ],
        UTC_MONTHS,
    )
    assert sorted(found.increments()) == sorted(
        ("2026-11", encode_cell(Cell(*cell, "15")), number)
        for cell, number in {
            ("shop", "news", "north", "delivered"): 1,
            ("shop", "news", "south", "delivered"): 1,
            ("other", "news", "", "delivered"): 1,
            ("shop", "news", "north", "received"): 7,
            ("shop", "offers", "", "received"): 2,
        }.items()
    )


def test_the_type_is_found_wherever_it_stands_among_the_headers() -> None:
    told = event(EventType.DELIVERED)
    turned = FakeRecord(list(reversed(told.headers)), told.value)
    assert counted(told, turned) == {("2026-11", "delivered"): 2}


def test_an_event_without_a_time_counts_in_the_month_of_its_record() -> None:
    told = event(EventType.DELIVERED, at_ms=0, first_dispatch=True)
    assert counted(told) == {("2026-11", "delivered"): 1, ("2026-11", "billed"): 1}


events = st.builds(
    event,
    st.sampled_from(EventType),
    client=st.sampled_from(["shop", "a,b", 'quote"', "ümlaut"]),
    mailing_id=st.sampled_from(["news", "", "['x']"]),
    sub_client=st.sampled_from(["", "north"]),
    at_ms=st.sampled_from([0, NOON, NOON + 20 * 86_400_000]),
    first_dispatch=st.booleans(),
    first_dispatched_at_ms=st.sampled_from([0, NOON]),
    size_bytes=st.integers(0, 3),
    bounce_class=st.sampled_from(["", "", "hard", "a b"]),
    reason=st.sampled_from(["", "blocked", "_", "not a word"]),
    rules=st.lists(st.fixed_dictionaries({"rule": st.text(max_size=4), "reason": st.just("")})),
)
tallies = st.builds(
    tally,
    st.tuples(st.sampled_from(["shop", "a,b"]), st.just("news"), st.just(""), st.integers(0, 1000)),
)


@given(st.lists(events | tallies, max_size=30), st.integers(0, 30))
def test_counting_in_two_ways_and_in_two_runs_comes_to_the_same(
    records: list[FakeRecord], cut: int
) -> None:
    cells: dict[tuple[str, Cell], int] = {}
    for run in (records[:cut], records[cut:]):
        for month, name, number in count(run, UTC_MONTHS).increments():
            key = month, decode_cell(name)
            cells[key] = cells.get(key, 0) + number
    again = Recount(UTC_MONTHS)
    for record in records:
        again.add(record)
    counted = {(month, cell): number for month, cell, number in again.take()}
    assert counted == {key: number for key, number in cells.items() if number}
