"""A request that may be older than it looks is known as one, whichever thread wakes up first."""

from __future__ import annotations

import pytest

from services.validate.edge.platform_api.writer import PAUSE_S, SUSPECT_S, TICK_S, PauseWatch
from shared.runtime.clock import FakeClock


@pytest.mark.parametrize("is_watch_first", [True, False])
def test_requests_after_a_pause_are_suspect_for_a_while(is_watch_first: bool) -> None:
    clock = FakeClock()
    watch = PauseWatch(clock)
    assert not watch.is_suspect()
    clock.go_on(PAUSE_S + TICK_S)
    if is_watch_first:
        watch.tick()
    assert watch.is_suspect()
    watch.tick()
    for _ in range(round(SUSPECT_S / TICK_S) - 1):
        clock.go_on(TICK_S)
        watch.tick()
        assert watch.is_suspect()
    clock.go_on(TICK_S)
    watch.tick()
    assert not watch.is_suspect()


def test_the_time_that_the_start_of_the_process_takes_is_no_pause() -> None:
    clock = FakeClock()
    watch = PauseWatch(clock)
    clock.go_on(PAUSE_S + TICK_S)
    watch.start()
    try:
        assert not watch.is_suspect()
    finally:
        watch.close()


def test_a_thread_that_is_a_little_late_is_no_pause() -> None:
    clock = FakeClock()
    watch = PauseWatch(clock)
    for _ in range(20):
        clock.go_on(PAUSE_S)
        watch.tick()
        assert not watch.is_suspect()
