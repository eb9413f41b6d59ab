"""The ends per second of a site, at any pace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.pool.backlog import WINDOW_S, EndRate


def ended_at(times: list[float]) -> EndRate:
    rate = EndRate()
    for at in times:
        rate.ended(at)
    return rate


@pytest.mark.parametrize(
    ("times", "now", "expected"),
    [
        ([], 5.0, 0.0),
        ([1.0], 1.1, 0.0),
        ([1.0], 2.0, 1.0),
        ([10.0] * 50, 11.0, 50.0),
        ([10.0] * 50, 10.0 + 3 * WINDOW_S, 0.0),
    ],
    ids=["none", "too soon to say", "one", "a burst", "long ago"],
)
def test_the_rate_is_that_of_the_last_seconds(
    times: list[float], now: float, expected: float
) -> None:
    assert ended_at(times).per_s(now) == pytest.approx(expected)


@given(
    start=st.floats(0, 1e6),
    per_s=st.integers(2, 500),
    seconds=st.floats(1.0, 30.0),
)
def test_a_steady_rate_is_found_whenever_it_began(start: float, per_s: int, seconds: float) -> None:
    count = int(seconds * per_s)
    rate = ended_at([start + number / per_s for number in range(count)])
    found = rate.per_s(start + count / per_s)
    assert found == pytest.approx(per_s, rel=0.1, abs=1.0)
