"""Provides the checks that a process reports on /live and /ready.

Progress is a check for /live: it reports a loop that makes no progress. The loop counts its turns,
and each call of the check compares the count with the count at the previous call. If the process
was paused, or the check was not called for a while, the time limit starts again from zero. Does not
own: the counting (shared/stream/loop.py for the loop that polls Kafka, EventLoopBeat for an event
loop).

Probe is a check for /ready: it repeatedly checks another part (such as Kafka) in its own thread and
keeps the last result. So /ready shows the state of that part even without traffic. A check that has
not returned after PROBE_STUCK_S is reported as a fault.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol

from shared.runtime.clock import monotonic

log = logging.getLogger(__name__)

# If a loop makes no turn for this time, it is stuck. The time is longer than the watchdog waits for
# a transaction, and longer than any turn on a busy machine.
LOOP_STUCK_S: Final = 180.0
BEAT_S: Final = 1.0
EVERY_S: Final = 1.0
PROBE_STUCK_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 10.0


class Progress:
    """Reports a loop that makes no progress. Pass an instance to HealthServer.add_live."""

    def __init__(
        self,
        loop: str,
        turns: Callable[[], int],
        excuse: Callable[[], str] = lambda: "",
        *,
        limit_s: float = LOOP_STUCK_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`turns` returns 0 before the start. `excuse` returns the reason for a pause, or ""."""
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
        return (
            (f"{self._loop} has made no turn for {stood_s:.0f} s")
            if stood_s > self._limit_s
            else ""
        )


class Timers(Protocol):
    """Declares the only method of an event loop that this module calls."""

    def call_later(self, delay: float, callback: Callable[[], Any], /) -> Any:
        """Call `callback` after `delay` seconds."""
        ...


class EventLoopBeat:
    """Counts the seconds in which an event loop runs, until the loop is closed."""

    def __init__(self, loop: Timers) -> None:
        self._loop = loop
        self._count = 0
        self._beat()

    def count(self) -> int:
        """Return the number of beats so far. Any thread may call this method."""
        return self._count

    def _beat(self) -> None:
        self._count += 1
        self._loop.call_later(BEAT_S, self._beat)


class Probe:
    """Repeats one check. `look` returns "" on success, otherwise the fault. `look` may block.

    As a context manager, a Probe repeats the check from entry to exit.
    """

    def __init__(self, name: str, look: Callable[[], str], every_s: float = EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._answer = "not asked yet"
        self._asked_at = monotonic()
        self._is_asking = True
        self._well_from = -1.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Probe:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread; return at once."""
        self._thread.start()

    def fault(self) -> str:
        """Return the last result. This method never blocks."""
        waited_s = monotonic() - self._asked_at
        if self._is_asking and waited_s > PROBE_STUCK_S:
            return f"no answer for {waited_s:.0f} s"
        return self._answer

    def was_well_after(self, moment_s: float) -> bool:
        """Return True if a check that began after this monotonic time has succeeded."""
        return self._well_from > moment_s

    def close(self) -> None:
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._asked_at = monotonic()
            self._is_asking = True
            answer = self._ask()
            if answer != self._answer:
                log.log(
                    logging.WARNING if answer else logging.INFO,
                    "%s: %s",
                    self._thread.name,
                    answer or "well",
                )
            self._answer = answer
            if not answer:
                self._well_from = self._asked_at
            self._is_asking = False
            self._closing.wait(self._every_s)

    def _ask(self) -> str:
        try:
            return self._look()
        except Exception as error:  # the thread must survive a fault of a client library
            return f"{type(error).__name__}: {error}"
