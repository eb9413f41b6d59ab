"""How often the counts are read, if reading takes long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.billing.core.quotas.pace import Pace

SHARE, BURST_S, MAX_WAIT_S, EVERY_S = 1 / 60, 20.0, 60.0, 5.0


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
