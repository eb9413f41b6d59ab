"""Asks a question again and again in a thread of its own, and keeps the last answer.

For what /ready reports about other parts: readiness then follows what they can do now, also
when no traffic asks them. A question that does not return is an answer too: once it has taken
longer than STUCK_S, the fault says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
STUCK_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 10.0


class Probe:
    """One question. `look` returns "" when all is well, otherwise the reason; it may block.

    A context manager: asks from entry to exit.
    """

    def __init__(self, name: str, look: Callable[[], str], every_s: float = EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._answer = "not asked yet"
        self._asked_at = time.monotonic()
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
        """Begin to ask; returns at once."""
        self._thread.start()

    def fault(self) -> str:
        """The last answer; never blocks."""
        waited_s = time.monotonic() - self._asked_at
        if self._is_asking and waited_s > STUCK_S:
            return f"no answer for {waited_s:.0f} s"
        return self._answer

    def was_well_after(self, moment_s: float) -> bool:
        """Whether a question asked after this moment (time.monotonic) was answered with ""."""
        return self._well_from > moment_s

    def close(self) -> None:
        """Ask no more."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._asked_at = time.monotonic()
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
        except Exception as error:  # the thread must outlive a fault of a client library
            return f"{type(error).__name__}: {error}"
