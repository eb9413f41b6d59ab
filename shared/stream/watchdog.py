"""Ends the process when one guarded step takes too long.

For kafka-python's calls that wait without a limit. Ending is safe where the guarded step is:
everything the process holds is told by Kafka again to its successor.
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

log = logging.getLogger(__name__)

DEFAULT_LIMIT_S: Final = 90.0
EXIT_CODE: Final = 75  # EX_TEMPFAIL: whoever supervises starts it again


def _end_process(step: str, limit_s: float) -> None:
    sys.stderr.write(f"watchdog: {step} took longer than {limit_s:.0f} s: ending this process\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Watchdog:
    """Watches one step at a time, from a thread of its own."""

    def __init__(
        self,
        limit_s: float = DEFAULT_LIMIT_S,
        end: Callable[[str, float], None] = _end_process,
    ) -> None:
        self._limit_s = limit_s
        self._end = end
        self._due: float | None = None
        self._step = ""
        self._thread: threading.Thread | None = None

    @contextmanager
    def guard(self, step: str) -> Iterator[None]:
        """End the process if the block has not finished within the limit."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._step = step
        self._due = time.monotonic() + self._limit_s
        try:
            yield
        finally:
            self._due = None

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._limit_s / 4))
            due = self._due
            if due is not None and time.monotonic() > due:
                self._end(self._step, self._limit_s)
                return
