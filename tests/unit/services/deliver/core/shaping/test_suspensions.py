"""The states of what is suspended or slowed down."""

from __future__ import annotations

import pytest

from services.deliver.core.shaping.suspensions import (
    LEAST_FACTOR,
    LONGEST_S,
    QUIET_S,
    SETTLE_S,
    Action,
    Event,
    Suspension,
    Suspensions,
)

KEY = "provider:google"
SUSPEND = Event(Action.SUSPEND, 600.0, "421 too much")
SLOW = Event(Action.SLOW_DOWN, 300.0, "450 slow down")
RESUME = Event(Action.RESUME, 1.0, "an operator")
AT = 1_000_000.0


def test_a_suspension_ends_by_itself() -> None:
    known = Suspensions()
    known.happen(KEY, SUSPEND, AT)
    assert known.suspended((KEY,), AT + 599) is not None
    assert known.suspended((KEY,), AT + 600) is None
    assert known.suspended(("site:other",), AT) is None


def test_answers_to_what_was_under_way_change_nothing() -> None:
    known = Suspensions()
    known.happen(KEY, SUSPEND, AT)
    assert known.happen(KEY, SUSPEND, AT + 1) is None


def test_a_suspension_that_is_soon_needed_again_lasts_twice_as_long() -> None:
    known, at, lasted = Suspensions(), AT, []
    for _ in range(12):
        state = known.happen(KEY, SUSPEND, at)
        assert state is not None
        lasted.append(state.until - at)
        at = state.until + 1
    assert lasted[:3] == [600, 1_200, 2_400]
    assert lasted[-1] == LONGEST_S


def test_after_a_quiet_time_a_suspension_is_short_again() -> None:
    known = Suspensions()
    known.happen(KEY, SUSPEND, AT)
    state = known.happen(KEY, SUSPEND, AT + 600 + 2 * 600)
    assert state is not None
    assert state.lasted_s == 600


def test_a_slow_down_halves_the_rate_and_recovers_step_by_step() -> None:
    known = Suspensions()
    known.happen(KEY, SLOW, AT)
    assert known.factor(KEY, AT + 299) == 0.5
    assert known.factor(KEY, AT + 300) == pytest.approx(0.6)
    assert known.factor(KEY, AT + 300 + QUIET_S) == pytest.approx(0.7)
    assert known.factor(KEY, AT + 300 + 10 * QUIET_S) == 1


def test_repeated_slow_downs_halve_it_again_but_never_to_nothing() -> None:
    known = Suspensions()
    known.happen(KEY, SLOW, AT)
    assert known.happen(KEY, SLOW, AT + SETTLE_S - 1) is None
    for step in range(1, 20):
        known.happen(KEY, SLOW, AT + step * SETTLE_S)
    assert known.factor(KEY, AT + 19 * SETTLE_S) == LEAST_FACTOR


def test_a_resume_ends_both() -> None:
    known = Suspensions()
    known.happen(KEY, SUSPEND, AT)
    known.happen(KEY, SLOW, AT)
    known.happen(KEY, RESUME, AT + 1)
    assert known.suspended((KEY,), AT + 1) is None
    assert known.factor(KEY, AT + 1) == 1


def test_the_later_state_of_a_key_counts_whichever_comes_first() -> None:
    older = Suspension(KEY, AT, until=AT + 900, lasted_s=900, strikes=1)
    newer = Suspension(KEY, AT + 5)
    for order in ([older, newer], [newer, older]):
        known = Suspensions()
        for state in order:
            known.merge([state], AT + 6)
        assert known.suspended((KEY,), AT + 6) is None


def test_what_is_over_is_forgotten() -> None:
    known = Suspensions()
    known.happen(KEY, SUSPEND, AT)
    known.merge([], AT + 600 + 1_199)
    assert len(known) == 1, "its strikes still count"
    known.merge([], AT + 600 + 1_200)
    assert len(known) == 0


def test_the_longest_of_several_suspensions_counts() -> None:
    known = Suspensions()
    known.happen(KEY, SUSPEND, AT)
    known.happen("client:shop", Event(Action.SUSPEND, 60, "x"), AT)
    found = known.suspended(("client:shop", KEY), AT)
    assert found is not None
    assert found.key == KEY
