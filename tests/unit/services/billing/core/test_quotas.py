"""The use of a quota, its events, how quotas are shown, and how often they are counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.billing.core.cells import Cell
from services.billing.core.quotas import (
    Pace,
    Plan,
    Present,
    ShownQuota,
    add_accepted,
    plan,
    shown_quotas,
    uncounted,
    used_of,
)
from shared.registry.client import Client, Code, Limit, OverQuota
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState

SHOP, SOUTH = QuotaScope("shop"), QuotaScope("shop", "south")
LIMITS = {SHOP: Limit(100, OverQuota.HOLD), SOUTH: Limit(10, OverQuota.HOLD)}
DAY_MS = 86_400_000
SHOP_CLIENT = Client(
    "shop",
    "news.shop.example",
    "replies@shop.example",
    "news",
    codes={
        "A1": Code("news", "south", monthly_quota=10),
        "A2": Code("news", "east", monthly_quota=20),
        "A3": Code("news", "west"),
    },
    monthly_quota=200,
    over_quota=OverQuota.HOLD,
)
BANK = Client("bank", "news.bank.example", "replies@bank.example", "letters", monthly_quota=3)
FREE = Client("free", "news.free.example", "replies@free.example", "letters")
USED = QuotaState("2026-11", 1_000, 2_000, 200, 199, (80, 90))
SHARE, BURST_S, MAX_WAIT_S, EVERY_S = 1 / 60, 20.0, 60.0, 5.0


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


def of_shop(state: QuotaState | None, now_ms: int) -> ShownQuota:
    client = replace(SHOP_CLIENT, codes={})
    (found,) = shown_quotas([client], {QuotaScope("shop"): state}.get, now_ms)
    return found


def test_quotas_come_by_client_with_its_own_first_and_none_without_a_limit() -> None:
    found = shown_quotas([SHOP_CLIENT, FREE, BANK], lambda _: None, 0)
    assert [(each.client, each.sub_client, each.quota) for each in found] == [
        ("bank", None, 3),
        ("shop", None, 200),
        ("shop", "east", 20),
        ("shop", "south", 10),
    ]
    assert {each.over_quota for each in found if each.client == "shop"} == {OverQuota.HOLD}


@pytest.mark.parametrize(
    ("state", "now_ms", "month", "used", "percent", "reached"),
    [
        (None, 1_500, "", 0, 0, ()),
        (USED, 999, "", 0, 0, ()),  # its month has not begun
        (USED, 1_000, "2026-11", 199, 99, (80, 90)),
        (USED, 1_999, "2026-11", 199, 99, (80, 90)),
        (USED, 2_000, "", 0, 0, ()),  # its month is over
        (replace(USED, used=0, reached=()), 1_500, "2026-11", 0, 0, ()),
    ],
)
def test_only_what_was_counted_in_the_present_month_is_used(
    state: QuotaState | None,
    now_ms: int,
    month: str,
    used: int,
    percent: int,
    reached: tuple[int, ...],
) -> None:
    found = of_shop(state, now_ms)
    assert (found.month, found.used, found.percent) == (month, used, percent)
    assert found.reached == reached


@pytest.mark.parametrize(
    ("used", "percent", "is_used_up"), [(199, 99, False), (200, 100, True), (500, 250, True)]
)
def test_a_quota_is_used_up_at_its_limit_and_not_before(
    used: int, percent: int, is_used_up: bool
) -> None:
    found = of_shop(replace(USED, used=used), 1_500)
    assert (found.percent, found.is_used_up) == (percent, is_used_up)


def test_the_quota_is_that_of_the_registration_not_the_one_counted_with() -> None:
    found = of_shop(replace(USED, quota=100, used=100), 1_500)
    assert (found.quota, found.percent, found.is_used_up) == (200, 50, False)


def test_short_readings_never_wait() -> None:
    pace, now = Pace(SHARE, BURST_S, MAX_WAIT_S), 1_000.0
    for _ in range(10_000):
        pace.took(0.05, now)
        assert pace.wait_s(now) == 0
        now += EVERY_S


@given(st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=60), st.floats(-1e6, 1e6))
def test_however_long_readings_take_none_waits_longer_than_a_minute(
    readings: list[float], begin: float
) -> None:
    pace, now = Pace(SHARE, BURST_S, MAX_WAIT_S), begin
    for seconds in readings:
        now += seconds
        pace.took(seconds, now)
        wait_s = pace.wait_s(now)
        assert wait_s <= MAX_WAIT_S + 1e-6
        assert pace.wait_s(now + wait_s) <= 1e-6
        now += wait_s


@given(st.lists(st.floats(0.0, SHARE * MAX_WAIT_S), min_size=1, max_size=200), st.floats(-1e6, 1e6))
def test_readings_take_their_share_of_the_time_and_a_burst(
    readings: list[float], begin: float
) -> None:
    pace, now, taken = Pace(SHARE, BURST_S, MAX_WAIT_S), begin, 0.0
    for seconds in readings:
        now += pace.wait_s(now)
        assert taken <= BURST_S + SHARE * (now - begin) + 1e-6
        now += seconds
        taken += seconds
        pace.took(seconds, now)
