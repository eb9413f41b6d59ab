"""A probe reports the result of its last check, or that the check does not return."""

from __future__ import annotations

import threading

from shared.runtime.probe import Probe


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
        assert asked.done.wait(120)
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
