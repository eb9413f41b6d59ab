"""Notices that this process was paused, so that nobody acts on requests that came before.

A request that waits in the system while the process is paused looks like one that has just come,
but whoever sent it has given up and may have been answered by another process since. A thread looks
at the clock every TICK_S. If it did not for longer than PAUSE_S, requests are taken for old ones
for SUSPECT_S, in which all that waited have been read.

Owns: the thread. Does not own: what a request gets then (writer.py). A pause that is shorter than
PAUSE_S is not noticed: a request is then older by that much. A machine that is so busy that no
thread runs for PAUSE_S looks like a pause, which costs requests that are asked again.
"""

from __future__ import annotations

import threading
from typing import Final

from shared.runtime.clock import Clock
from shared.runtime.threads import CLOSE_TIMEOUT_S

TICK_S: Final = 0.25
PAUSE_S: Final = 2.0
SUSPECT_S: Final = 2.0


class PauseWatch:
    """Runs from start() until close(); is_suspect() may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen_at = clock.monotonic()
        self._until = float("-inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pause-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._seen_at = self._clock.monotonic()  # the time of the start is no pause
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    def tick(self) -> None:
        """Look at the clock, as the thread does."""
        now = self._clock.monotonic()
        if now - self._seen_at > PAUSE_S:
            self._until = now + SUSPECT_S  # before the next line: is_suspect() reads both
        self._seen_at = now

    def is_suspect(self) -> bool:
        """Whether a request that is read now may be one from before a pause."""
        seen_at = self._seen_at
        now = self._clock.monotonic()
        return now - seen_at > PAUSE_S or now < self._until

    def _run(self) -> None:
        while not self._closing.wait(TICK_S):
            self.tick()
