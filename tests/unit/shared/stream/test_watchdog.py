"""The watchdog ends a process whose step takes too long, and no other."""

from __future__ import annotations

import socket
import threading

import pytest

from shared.runtime.clock import FakeClock
from shared.stream import watchdog
from shared.stream.watchdog import Watchdog, is_unreachable
from tests.support.patience import PATIENCE_S

LIMIT_S = 0.3


class Ending:
    """Replaces the end of the process."""

    def __init__(self) -> None:
        self.step = ""
        self.happened = threading.Event()

    def __call__(self, step: str, _limit_s: float) -> None:
        self.step = step
        self.happened.set()


def test_a_step_that_takes_too_long_ends_the_process() -> None:
    ending = Ending()
    with Watchdog(LIMIT_S, ending).guard("a commit"):
        assert ending.happened.wait(PATIENCE_S)
    assert ending.step == "a commit"


def test_steps_within_their_time_end_nothing_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, ending, asked = FakeClock(), Ending(), threading.Semaphore(0)
    monkeypatch.setattr(watchdog, "monotonic", clock.monotonic)

    def look() -> bool:
        asked.release()
        return False

    watching = Watchdog(LIMIT_S, ending, look)
    for _ in range(5):
        with watching.guard("short"):
            clock.go_on(0.9 * LIMIT_S)
            assert asked.acquire(timeout=PATIENCE_S), "it has checked this step"
    assert not ending.happened.is_set()


def test_while_what_it_waits_for_is_away_a_step_may_take_as_long_as_it_likes() -> None:
    ending, asked, is_away = Ending(), threading.Semaphore(0), True

    def look() -> bool:
        asked.release()
        return is_away

    with Watchdog(LIMIT_S, ending, look).guard("a commit"):
        for _ in range(5):  # it checks again half a limit later, so this is more than two limits
            assert asked.acquire(timeout=PATIENCE_S)
        assert not ending.happened.is_set()
        is_away = False
        assert ending.happened.wait(PATIENCE_S)


def test_brokers_are_unreachable_where_none_of_them_takes_a_connection() -> None:
    with socket.socket() as listening, socket.socket() as closed:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        closed.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{listening.getsockname()[1]}"
        away = f"127.0.0.1:{closed.getsockname()[1]}"
        assert is_unreachable(away)
        assert not is_unreachable(there)
        assert not is_unreachable(f"{away},{there}")
    assert is_unreachable("")
    assert is_unreachable("nonsense")
    assert is_unreachable("127.0.0.1:99999")
