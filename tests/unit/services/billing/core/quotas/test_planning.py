"""What is used of a quota, and which events are published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.cells import Cell
from services.billing.core.quotas.planning import (
    Plan,
    Present,
    add_accepted,
    plan,
    uncounted,
    used_of,
)
from shared.registry.client import Limit, OverQuota
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState

SHOP, SOUTH = QuotaScope("shop"), QuotaScope("shop", "south")
LIMITS = {SHOP: Limit(100, OverQuota.HOLD), SOUTH: Limit(10, OverQuota.HOLD)}
DAY_MS = 86_400_000


def present(month: str = "2026-11", *, is_complete: bool = True, now_ms: int = 50) -> Present:
    return Present(month, 0, DAY_MS, now_ms, is_complete)


def state(used: int, *reached: int, month: str = "2026-11", quota: int = 100) -> QuotaState:
    return QuotaState(month, 0, DAY_MS, quota, used, reached)


def planned(
    last: QuotaState | None, used: int, at: Present | None = None, quota: int = 100
) -> tuple[Plan, list[int]]:
    known = {} if last is None else {SHOP: last}
    limits = {SHOP: Limit(quota, OverQuota.WARN)}
    found = plan(known, None, limits, {SHOP: used}, at or present())
    return found, [event.threshold for event in found.events]


def test_used_is_what_was_accepted_to_be_sent() -> None:
    cells = [
        (Cell("shop", "news", "south", "received", "01"), 20),
        (Cell("shop", "news", "south", "refused", "01"), 3),
        (Cell("shop", "news", "south", "refused", "01", "R4"), 3),
        (Cell("shop", "news", "south", "suppressed", "02"), 2),
        (Cell("shop", "news", "south", "cancelled", "02"), 1),
        (Cell("shop", "news", "south", "billed", "02"), 9),
        (Cell("shop", "other", "", "received", "02"), 5),
        (Cell("bank", "news", "south", "received", "02"), 1_000),
    ]
    accepted = dict[tuple[str, str], int]()
    add_accepted(accepted, cells)
    assert used_of(accepted, LIMITS) == {SHOP: 19, SOUTH: 14}
    # Changes are added to what was there.
    add_accepted(accepted, [(Cell("shop", "news", "south", "received", "03"), 4)])
    assert used_of(accepted, LIMITS) == {SHOP: 23, SOUTH: 18}


def test_what_is_used_is_never_less_than_nothing() -> None:
    assert used_of({("shop", ""): -3}, LIMITS) == {SHOP: 0, SOUTH: 0}


@pytest.mark.parametrize(
    ("last", "used", "events"),
    [
        (None, 79, []),
        (None, 80, [80]),
        (None, 95, [80, 90]),
        (None, 1_000, [80, 90, 100]),
        (state(85, 80), 89, []),
        (state(85, 80), 90, [90]),
        (state(100, 80, 90, 100), 500, []),
        # Another month begins from the beginning.
        (state(100, 80, 90, 100, month="2026-10"), 80, [80]),
    ],
)
def test_a_threshold_has_an_event_when_it_is_first_reached(
    last: QuotaState | None, used: int, events: list[int]
) -> None:
    assert planned(last, used)[1] == events


def test_a_raised_quota_does_not_repeat_the_events_of_the_month() -> None:
    found, events = planned(state(85, 80), 170, quota=200)
    assert events == []
    assert found.states == {SHOP: state(170, 80, quota=200)}


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200), st.booleans()), max_size=30))
def test_no_threshold_has_two_events_in_a_month(turns: list[tuple[int, int, bool]]) -> None:
    last, seen = None, list[int]()
    for used, quota, is_complete in turns:
        found, events = planned(last, used, present(is_complete=is_complete), quota)
        seen += events
        last = found.states.get(SHOP, last)
        assert last is not None
        assert set(last.reached) == set(seen)
    assert len(seen) == len(set(seen))


def test_counts_that_are_being_restored_take_nothing_back() -> None:
    found, _ = planned(state(85, 80), 3, present(is_complete=False))
    assert found.states == {}
    found, _ = planned(state(85, 80), 3)
    assert found.states == {SHOP: state(3, 80)}


def test_the_beat_says_up_to_when_the_counts_are_complete_and_never_goes_back() -> None:
    beat = QuotaBeat("2026-11", 0, DAY_MS, 40)
    for at, expected in [
        (present(now_ms=50), QuotaBeat("2026-11", 0, DAY_MS, 50, 50)),
        # Its writer still works.
        (present(now_ms=50, is_complete=False), QuotaBeat("2026-11", 0, DAY_MS, 40, 50)),
        (present(now_ms=30), QuotaBeat("2026-11", 0, DAY_MS, 40, 30)),
    ]:
        assert plan({}, beat, {}, {}, at).beat == expected


@pytest.mark.parametrize(
    ("beat", "month", "expected"),
    [
        (None, "2026-11", None),
        (QuotaBeat("2026-11", 0, 9, 4), "2026-11", QuotaBeat("2026-11", 0, 9, 4, 7)),
        (QuotaBeat("2026-11", 0, 9, 4, 6), "2026-12", QuotaBeat("2026-11", 0, 9, 4, 7)),
        (QuotaBeat("2026-11", 0, 9, 4), "2026-10", None),
    ],
)
def test_a_turn_that_counts_nothing_says_only_that_its_writer_works(
    beat: QuotaBeat | None, month: str, expected: QuotaBeat | None
) -> None:
    assert uncounted(beat, month, 7) == Plan({}, [], expected)


def test_a_writer_with_a_slow_clock_does_not_go_back_to_an_earlier_month() -> None:
    beat = QuotaBeat("2026-12", 0, DAY_MS, 40)
    assert plan({}, beat, LIMITS, {SHOP: 99, SOUTH: 9}, present()) == Plan({}, [], None)


def test_the_state_of_a_quota_that_is_no_more_is_kept_to_the_end_of_the_month() -> None:
    known = {SHOP: state(85, 80), SOUTH: state(1, month="2026-10")}
    assert plan(known, None, {}, {}, present()).states == {SOUTH: None}
