"""Writes checkpoints and closes months, in a thread beside the counting loop.

If a step fails, `fault` has the reason, and the step is tried again later. The counting of events
continues meanwhile. Any number of processes may run this thread at the same time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from services.billing.edge.metrics import BillingMetrics
from services.billing.edge.statements.checkpointing import Checkpointer
from services.billing.edge.statements.closing import Closer
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable, UsageError

log = logging.getLogger(__name__)

# The interval at which the thread checks whether a month must be closed.
CLOSE_S: Final = 10.0
COUNT_WAIT_S: Final = 30.0
STEP_S: Final = 1.0
STOP_TIMEOUT_S: Final = 10.0


class Bookkeeper:
    """Writes checkpoints and closes months from start() until close(). If `closer` is None, this
    thread closes no months, because they are closed by a command."""

    def __init__(
        self,
        checkpointer: Checkpointer,
        closer: Closer | None,
        clock: Clock,
        metrics: BillingMetrics,
        checkpoint_s: float,
    ) -> None:
        self._checkpointer = checkpointer
        self._closer = closer
        self._clock = clock
        self._metrics = metrics
        self._checkpoint_s = checkpoint_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)
        self._fault = ""

    @property
    def fault(self) -> str:
        """Return the reason why the last step failed. Return "" if the last step succeeded."""
        return self._fault

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop after the current step."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        close_at = self._clock.monotonic()
        checkpoint_at = close_at + self._checkpoint_s
        while not self._stop.wait(STEP_S):
            now = self._clock.monotonic()
            if now >= checkpoint_at:
                self._try("checkpoint", self._checkpoint)
                checkpoint_at = now + self._checkpoint_s
            if now >= close_at and self._closer is not None:
                self._try("close", self._close_due)
                close_at = now + CLOSE_S

    def _checkpoint(self) -> None:
        if self._checkpointer.write():
            self._metrics.checkpoints.add()

    def _close_due(self) -> None:
        if self._closer is None:
            return
        while not self._stop.is_set() and (month := self._closer.due()):
            statement = self._closer.close(month, "automatic", wait_s=COUNT_WAIT_S)
            self._metrics.closed.add()
            log.info("a month is closed", extra={"month": month, "lines": statement.lines})

    def _try(self, step: str, act: Callable[[], None]) -> None:
        try:
            act()
        except (Unavailable, UsageError) as error:
            self._fault = str(error)
            self._metrics.book_faults.add()
            log.warning("%s: %s", step, error)
        except Exception:
            self._fault = f"{step} failed; the log has the details"
            self._metrics.book_faults.add()
            log.exception("%s failed", step)
        else:
            self._fault = ""
