"""The time. Cores get it as an argument, or a Clock; nothing else reads the machine's clock."""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Wall-clock time for records, monotonic time for waiting."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary beginning."""
        ...


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


# Seconds that never go back, from an arbitrary beginning.
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
