"""The checks of /live: whether a loop still makes progress.

A loop counts its turns; the check compares the count each time that it is called. Owns: when a loop
counts as stuck. Does not own: counting (shared/stream/loop.py for the loop that polls Kafka,
EventLoopBeat for an event loop).

Guarantees: a process that was paused, or that nobody asked for a while, is not called stuck before
it has had the whole limit again. Reading the count is all that a check does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from shared.runtime.clock import monotonic

# Longer than the watchdog waits for a transaction, and than any turn takes on a busy machine.
STUCK_S: Final = 180.0
BEAT_S: Final = 1.0


class Progress:
    """A check for HealthServer.add_live."""

    def __init__(
        self,
        loop: str,
        turns: Callable[[], int],
        excuse: Callable[[], str] = lambda: "",
        *,
        limit_s: float = STUCK_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`turns` is 0 until the loop has begun; while `excuse` returns a reason, it may stand."""
        self._loop = loop
        self._turns = turns
        self._excuse = excuse
        self._limit_s = limit_s
        self._clock = clock
        self._seen = 0
        self._since = self._asked_at = clock()

    def __call__(self) -> str:
        """Return "" while the loop makes progress, otherwise the reason to restart."""
        now, turns = self._clock(), self._turns()
        was_unasked = now - self._asked_at > self._limit_s / 2
        self._asked_at = now
        if turns != self._seen or not turns or was_unasked or self._excuse():
            self._seen, self._since = turns, now
        stood_s = now - self._since
        return f"no turn of {self._loop} for {stood_s:.0f} s" if stood_s > self._limit_s else ""


class Timers(Protocol):
    """An event loop, as far as it is used here."""

    def call_later(self, delay: float, callback: Callable[[], Any], /) -> Any:
        """Call back after so many seconds."""
        ...


class EventLoopBeat:
    """Counts the seconds in which an event loop runs, until it is closed."""

    def __init__(self, loop: Timers) -> None:
        self._loop = loop
        self._count = 0
        self._beat()

    def count(self) -> int:
        """The number of beats; may be read in any thread."""
        return self._count

    def _beat(self) -> None:
        self._count += 1
        self._loop.call_later(BEAT_S, self._beat)
