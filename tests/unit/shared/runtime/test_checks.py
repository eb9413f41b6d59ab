"""The checks of a process: a loop without progress is stuck; a probe keeps its last result."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from shared.runtime.checks import EventLoopBeat, Probe, Progress
from tests.support.patience import PATIENCE_S

LIMIT_S = 100.0
STUCK = "the loop has made no turn for 110 s"


class Scene:
    """A loop, a clock and an excuse, all of which the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.turns = 1
        self.excuse = ""
        self.check = Progress(
            "the loop",
            lambda: self.turns,
            lambda: self.excuse,
            limit_s=LIMIT_S,
            clock=lambda: self.now,
        )

    def ask(self, seconds: float, *, turns: int = 0, excuse: str = "") -> str:
        """Ask after so many seconds, in which the loop took so many turns."""
        self.now += seconds
        self.turns += turns
        self.excuse = excuse
        return self.check()


def test_a_loop_that_takes_turns_is_live() -> None:
    scene = Scene()
    assert [scene.ask(10, turns=1) for _ in range(50)] == [""] * 50


def test_a_loop_that_takes_none_is_stuck_after_the_limit() -> None:
    scene = Scene()
    answers = [scene.ask(10) for _ in range(12)]
    assert answers == [""] * 11 + [STUCK]
    assert scene.ask(0, turns=1) == ""


@pytest.mark.parametrize(
    "relief",
    [
        lambda scene: scene.ask(10, turns=1),
        lambda scene: scene.ask(10, excuse="no broker answers"),
        # The process was paused, or its supervisor did not ask.
        lambda scene: scene.ask(60),
        lambda scene: scene.ask(100_000),
    ],
    ids=["a turn", "an excuse", "a pause", "a long pause"],
)
def test_the_whole_limit_begins_again(relief: Callable[[Scene], str]) -> None:
    scene = Scene()
    assert [scene.ask(10) for _ in range(10)] == [""] * 10
    assert relief(scene) == ""
    assert [scene.ask(10) for _ in range(11)] == [""] * 10 + [STUCK]


def test_a_loop_that_has_not_begun_is_starting() -> None:
    scene = Scene()
    scene.turns = 0
    assert [scene.ask(10) for _ in range(50)] == [""] * 50


def test_an_excuse_that_lasts_excuses_for_as_long() -> None:
    scene = Scene()
    assert [scene.ask(10, excuse="no broker answers") for _ in range(50)] == [""] * 50


class Timer:
    """The part of an event loop that keeps what is to be called later."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        assert delay_s > 0
        self.later.append(callback)


def test_an_event_loop_beats_as_often_as_it_runs_its_timers() -> None:
    timer = Timer()
    beat = EventLoopBeat(timer)
    assert beat.count() == 1
    for expected in (2, 3):
        timer.later.pop()()
        assert beat.count() == expected
    assert len(timer.later) == 1


class Asked:
    """A check whose results a test sets; each call waits for one."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers = list(answers)
        self.done = threading.Event()

    def __call__(self) -> str:
        if not self._answers:
            self.done.set()
            return "the end"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def last_answer(*answers: str | Exception) -> str:
    """The fault after all these results, before the next check ends."""
    seen: list[str] = []
    asked = Asked(*answers)

    def look() -> str:
        seen.append(probe.fault())
        return asked()

    probe = Probe("test", look, every_s=0.0)
    with probe:
        assert asked.done.wait(PATIENCE_S)
    return seen[len(answers)]


def test_before_the_first_answer_it_is_not_well() -> None:
    assert Probe("test", lambda: "").fault() == "not asked yet"


def test_it_has_the_last_answer() -> None:
    assert last_answer("broken") == "broken"
    assert last_answer("broken", "") == ""
    assert last_answer("", "broken") == "broken"


def test_an_error_is_an_answer_and_does_not_end_it() -> None:
    assert last_answer(ValueError("odd")) == "ValueError: odd"
    assert last_answer(ValueError("odd"), "") == ""
