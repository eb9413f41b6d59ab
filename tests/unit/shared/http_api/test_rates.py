"""Rates per key: a bucket of one minute that fills evenly."""

from __future__ import annotations

import pytest

from shared.http_api.rates import RateLimiter


def test_a_bucket_holds_a_minute_and_fills_evenly() -> None:
    limiter = RateLimiter(60)
    assert [limiter.try_acquire("a", 100.0) for _ in range(61)] == [0] * 60 + [1]
    assert limiter.try_acquire("b", 100.0) == 0
    assert [limiter.try_acquire("a", 102.0) for _ in range(3)] == [0, 0, 1]
    assert [limiter.try_acquire("a", 9_999.0) for _ in range(61)] == [0] * 60 + [1]


@pytest.mark.parametrize(("per_minute", "wait_s"), [(1, 60), (2, 30), (600, 1)])
def test_the_wait_is_told_in_whole_seconds(per_minute: int, wait_s: int) -> None:
    limiter = RateLimiter(per_minute)
    for _ in range(per_minute):
        assert limiter.try_acquire("a", 5.0) == 0
    assert limiter.wait_for("a", 5.0) == wait_s
    assert limiter.try_acquire("a", 5.0) == wait_s
    assert limiter.try_acquire("a", 5.0 + wait_s) == 0


def test_looking_takes_no_token() -> None:
    limiter = RateLimiter(1)
    assert [limiter.wait_for("a", 5.0) for _ in range(3)] == [0, 0, 0]


def test_zero_is_no_limit() -> None:
    limiter = RateLimiter(0)
    assert {limiter.try_acquire("a", 5.0) for _ in range(10_000)} == {0}


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    limiter = RateLimiter(1)
    assert [limiter.try_acquire("a", at) for at in (50.0, 40.0)] == [0, 60]


def test_the_number_of_buckets_is_bounded_and_the_least_used_one_goes() -> None:
    limiter = RateLimiter(1, most=2)
    for name in ("a", "b", "a", "c"):
        limiter.try_acquire(name, 5.0)
    assert limiter.wait_for("a", 5.0) == 60
    assert limiter.wait_for("b", 5.0) == 0
