"""When mail may begin under the operators' orders that are known."""

from __future__ import annotations

import pytest

from services.deliver.core.control.freshness import FRESH_S, GIVE_UP_TRIES, Freshness


def test_nothing_begins_before_the_orders_were_read_however_often_that_fails() -> None:
    freshness = Freshness()
    for _ in range(10 * GIVE_UP_TRIES):
        freshness.count_failure()
    assert not freshness.was_read
    assert not freshness.is_current(0.0)


@pytest.mark.parametrize(
    ("age_s", "failed_tries", "is_current"),
    [
        (0.0, 0, True),
        (FRESH_S, 0, True),
        (FRESH_S + 1, 0, False),
        (FRESH_S + 1, GIVE_UP_TRIES - 1, False),
        (FRESH_S + 1, GIVE_UP_TRIES, True),
    ],
)
def test_after_a_pause_the_orders_are_confirmed_first_unless_they_cannot_be(
    age_s: float, failed_tries: int, is_current: bool
) -> None:
    freshness = Freshness()
    freshness.confirm(100.0)
    for _ in range(failed_tries):
        freshness.count_failure()
    assert freshness.is_current(100.0 + age_s) is is_current


def test_a_confirmation_forgets_the_failures_before_it() -> None:
    freshness = Freshness()
    for _ in range(GIVE_UP_TRIES):
        freshness.count_failure()
    freshness.confirm(100.0)
    assert not freshness.is_current(100.0 + FRESH_S + 1)
