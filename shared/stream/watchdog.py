"""Ends the process when a guarded step takes too long.

The watchdog is for kafka-python's calls that wait without a limit. The process can be ended safely
during a guarded step, because the next process reads all unfinished records from Kafka again. Time
without a reachable broker is not counted, because a new process could not use Kafka either. Also,
the front door answers 451 during an outage, but a restarted front door would not answer at all
until Kafka is available.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shared.runtime.clock import monotonic
from shared.runtime.errors import Exit
from shared.runtime.tcp import answers
from shared.stream.client import ClientOptions

log = logging.getLogger(__name__)

DEFAULT_LIMIT_S: Final = 90.0
EXIT_CODE: Final = Exit.RESTART
_CONNECT_TIMEOUT_S: Final = 1.0
_TICKS: Final = 30  # checks per limit


def _end_process(step: str, limit_s: float) -> None:
    sys.stderr.write(f"watchdog: {step} took longer than {limit_s:.0f} s: ending this process\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def is_unreachable(bootstrap: str) -> bool:
    """Return True if no broker of `host:port[,host:port]` accepts a connection now."""
    return not any(answers(address, _CONNECT_TIMEOUT_S) for address in bootstrap.split(","))


def _never() -> bool:
    return False


class Watchdog:
    """Watches one step at a time, in a separate thread."""

    def __init__(
        self,
        limit_s: float = DEFAULT_LIMIT_S,
        end: Callable[[str, float], None] = _end_process,
        is_away: Callable[[], bool] = _never,
    ) -> None:
        """`is_away` returns True if the brokers are unavailable. It is called for slow steps."""
        self._limit_s = limit_s
        self._end = end
        self.is_away = is_away
        self._lock = threading.Lock()
        self._due: float | None = None
        self._step = ""
        self._thread: threading.Thread | None = None

    @contextmanager
    def guard(self, step: str) -> Iterator[None]:
        """End the process if the guarded block has not finished within the limit."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._step = step
        self._due = monotonic() + self._limit_s
        try:
            yield
        finally:
            with self._lock:
                self._due = None

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit_s / _TICKS)
            due, now = self._due, monotonic()
            if due is None or due - now > self._limit_s / 2:
                continue
            if self.is_away():
                with self._lock:
                    if self._due is not None:
                        self._due = monotonic() + self._limit_s
            elif now > due and self._due == due:
                self._end(self._step, self._limit_s)
                return


def watchdog_of(options: ClientOptions) -> Watchdog:
    """Create the watchdog for the transactions of a process with these options."""
    return Watchdog(is_away=lambda: is_unreachable(options.bootstrap))
