"""Repeats a check in its own thread and keeps the last result.

/ready reports other parts this way: readiness then follows their present state, even without
traffic. If a check has not returned after STUCK_S, that is reported as the fault.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from shared.runtime.clock import monotonic

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
STUCK_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 10.0


class Probe:
    """One check. `look` returns "" if it succeeds, otherwise the reason; it may block.

    A context manager: the check is repeated from entry to exit.
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
        """Return the last result; never blocks."""
        waited_s = monotonic() - self._asked_at
        if self._is_asking and waited_s > STUCK_S:
            return f"no answer for {waited_s:.0f} s"
        return self._answer

    def was_well_after(self, moment_s: float) -> bool:
        """Whether a check that began after this time (monotonic) succeeded."""
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
        except Exception as error:  # the thread must outlive a fault of a client library
            return f"{type(error).__name__}: {error}"
