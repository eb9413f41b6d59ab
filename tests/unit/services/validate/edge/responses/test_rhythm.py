"""How often bounces are counted: when the ends are looked at again, and at once while behind."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import pytest

from services.validate.edge.responses.opening import Counting, WorkerParts
from services.validate.edge.responses.worker import COUNTING_POLL_MS, ResponsesWorker
from shared.responses.counting.batch import CountingRules
from shared.responses.counting.incidents import Incidents
from shared.runtime.clock import FakeClock
from shared.runtime.lifecycle import Stop
from shared.store.counters import CounterPlace

LOOK_S: Final = 0.5
POLL_S: Final = 0.06
TURNS: Final = 12
PLACE: Final = CounterPlace("id", "")


class Member:
    """The member of the group that holds the partition: a poll takes its time."""

    def __init__(self, clock: FakeClock, stop: Stop) -> None:
        self._clock = clock
        self._stop = stop
        self.waits: list[int] = []

    def poll(self, timeout_ms: int, _: int) -> None:
        self.waits.append(timeout_ms)
        self._clock.go_on(timeout_ms / 1000)
        if len(self.waits) == TURNS:
            self._stop.set()

    def membership(self) -> object:
        return self

    def assignment(self) -> bool:
        return True

    def close(self) -> None:
        return


class Log:
    """A SourceLog with nothing to take, which begins each poll `late_s` after the turn."""

    def __init__(self, clock: FakeClock, late_s: float, behind: int) -> None:
        self._clock = clock
        self._late_s = late_s
        self._behind = behind
        self.looks: list[float] = []

    def poll(self) -> None:
        self._clock.go_on(self._late_s)
        if not self.looks or self._clock.monotonic() >= self.next_look():
            self.looks.append(self._clock.monotonic())
        self._clock.go_on(POLL_S)

    def next_look(self) -> float:
        return self.looks[-1] + LOOK_S

    def is_behind(self) -> bool:
        self._behind -= 1
        return self._behind >= 0

    def lag(self) -> int:
        return 0

    def take(self, _: int) -> list[Any]:
        return []

    def close(self) -> None:
        return


class Others:
    """The producer, the store, the reviews and the metrics, which have nothing to do."""

    def __init__(self) -> None:
        self.incidents = self.restarts = self.lag = self

    def open(self) -> None:
        return

    def close(self) -> None:
        return

    def read_on(self) -> bool:
        return False

    def read(self, _: list[bytes]) -> tuple[CounterPlace, list[bytes]]:
        return PLACE, []

    def set(self, _: int) -> None:
        return

    def add(self) -> None:
        return


def run(
    monkeypatch: pytest.MonkeyPatch, late_s: float = 0.0, behind: int = 0
) -> tuple[list[float], list[int]]:
    """The looks at the ends, and how long each turn polled for the membership."""
    clock, stop = FakeClock(), Stop()
    log, member, others = Log(clock, late_s, behind), Member(clock, stop), Others()
    made: Any = log
    other: Any = others
    counting = Counting(made, other, CountingRules(), PLACE, {}, {}, Incidents())
    monkeypatch.setattr(
        "services.validate.edge.responses.worker.open_counting", lambda *_: counting
    )
    found: Any = member
    parts = WorkerParts(other, lambda: found, other, other, other, clock, other, other)
    ResponsesWorker(parts).run(stop)
    return log.looks, member.waits


@pytest.mark.parametrize("late_s", [0.0, 0.0004, 0.003])
def test_once_all_is_read_each_turn_looks_at_the_ends_and_none_comes_early(
    late_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, _ = run(monkeypatch, late_s)
    gaps = [later - sooner for sooner, later in pairwise(looks)]
    assert len(looks) == TURNS
    assert all(LOOK_S <= gap < LOOK_S + 0.005 for gap in gaps), gaps


def test_while_it_is_behind_the_turns_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, waits = run(monkeypatch, behind=5)
    assert waits[1:6] == [COUNTING_POLL_MS] * 5
    assert min(waits[6:]) > COUNTING_POLL_MS
