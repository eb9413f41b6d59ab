"""A deadline that a chain of waits shares."""

from __future__ import annotations

from shared.runtime.clock import Clock, SystemClock

_SYSTEM = SystemClock()


class Deadline:
    """A time at which waiting ends; passed on instead of a time-out for each step."""

    __slots__ = ("_at", "_clock")

    def __init__(self, timeout_s: float, clock: Clock = _SYSTEM) -> None:
        self._clock = clock
        self._at = clock.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._at - self._clock.monotonic())

    def is_over(self) -> bool:
        return self._clock.monotonic() >= self._at

    def at_most(self, timeout_s: float) -> float:
        """Return the time-out for one step: `timeout_s`, or the remaining time if it is shorter."""
        return min(timeout_s, self.left_s())
