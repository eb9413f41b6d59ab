"""One end of time that a chain of waits shares."""

from __future__ import annotations

from shared.runtime.clock import Clock, SystemClock

_SYSTEM = SystemClock()


class Deadline:
    """A moment after which waiting ends; handed on instead of a time-out for each step."""

    __slots__ = ("_at", "_clock")

    def __init__(self, timeout_s: float, clock: Clock = _SYSTEM) -> None:
        self._clock = clock
        self._at = clock.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._at - self._clock.monotonic())

    def is_over(self) -> bool:
        """Whether no time is left."""
        return self._clock.monotonic() >= self._at

    def at_most(self, timeout_s: float) -> float:
        """A time-out for one step: this long, or what is left where that is less."""
        return min(timeout_s, self.left_s())
