"""How many transactions of one site end per second, of late. Pure."""

from __future__ import annotations

from typing import Final

# The rate is that of the last one to two of these windows.
WINDOW_S: Final = 2.0
# A rate over less time says nothing.
_SHORTEST_S: Final = 0.5


class EndRate:
    """The ends of one site's transactions. All times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._first_at = 0.0  # the first end after a time without any
        self._window_at = 0.0
        self._before = 0
        self._count = 0

    def ended(self, now: float) -> None:
        """A transaction has ended."""
        self._move_on(now)
        if not self._before and not self._count:
            self._first_at = self._window_at = now
        self._count += 1

    def per_s(self, now: float) -> float:
        """The ends per second; 0.0 if there were none, or too few to say."""
        self._move_on(now)
        seconds = min(now - self._first_at, now - self._window_at + WINDOW_S)
        return (self._before + self._count) / seconds if seconds >= _SHORTEST_S else 0.0

    def _move_on(self, now: float) -> None:
        windows = int((now - self._window_at) / WINDOW_S)
        if windows:
            self._before = self._count if windows == 1 else 0
            self._count = 0
            self._window_at += windows * WINDOW_S
