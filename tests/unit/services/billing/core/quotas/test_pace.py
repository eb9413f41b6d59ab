"""How often the counts are read, if reading takes long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.quotas.pace import Pace

SHARE, BURST_S, EVERY_S = 1 / 60, 20.0, 5.0


def test_short_readings_never_wait() -> None:
    pace, now = Pace(SHARE, BURST_S), 1_000.0
    for _ in range(10_000):
        pace.took(0.05, now)
        assert pace.wait_s(now) == 0
        now += EVERY_S


@given(st.lists(st.floats(0.0, 60.0), min_size=1, max_size=60), st.floats(0, 1e6))
def test_long_readings_take_their_share_of_the_time_and_a_burst(
    readings: list[float], begin: float
) -> None:
    pace, now, taken = Pace(SHARE, BURST_S), begin, 0.0
    for seconds in readings:
        now += pace.wait_s(now)
        before = taken
        assert before <= BURST_S + SHARE * (now - begin) + max(readings) + 1e-6
        now += seconds
        taken += seconds
        pace.took(seconds, now)
    assert pace.wait_s(now) <= max(0.0, taken - BURST_S) / SHARE + 1e-6
