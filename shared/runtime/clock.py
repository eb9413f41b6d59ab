"""Provides the time, and a deadline that a chain of waits can share.

Cores get the time or a Clock as an argument. Only this module reads the machine's clock.
"""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Provides wall-clock time for records and monotonic time for waiting."""

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary point in time; the value never decreases."""
        ...


def now_ms() -> int:
    """Return the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


# monotonic() returns the seconds since an arbitrary point in time; the value never decreases.
monotonic: Final = time.monotonic


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return monotonic()


class FakeClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def go_on(self, seconds: float) -> None:
        """Advance both the wall-clock and the monotonic time."""
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds


_SYSTEM: Final = SystemClock()


class Deadline:
    """The time at which waiting ends. Chained waits share one deadline."""

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
        """Return the time-out for one step: `timeout_s`, or the time left if that is shorter."""
        return min(timeout_s, self.left_s())
