"""Answers usage queries for a month from the cells, and says whether the answer is complete.

The ends of the log are read first and the cells afterwards, so `complete` means: the answer
includes every event that was committed when the query came.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

from services.billing.core.answer import CountingProgress, Usage, lag, why_incomplete
from services.billing.core.rows import rows
from services.billing.edge.cells import Cells
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from shared.runtime.deadline import Deadline
from shared.store.read_cells import Snapshot

MAX_WAIT_S: Final = 60.0
_STEP_S: Final = 0.05


class AsksEnds(Protocol):
    """Asks for the present ends of the log; EndsAsker in production."""

    def ask(self) -> LogEnds:
        """Raises KafkaUnavailable."""


class UsageView:
    """Reads usage. Thread-safe."""

    def __init__(self, cells: Cells, ends: AsksEnds) -> None:
        self._cells = cells
        self._ends = ends

    def read(self, month: str, client: str = "", wait_s: float = 0.0) -> Usage:
        """The usage of `month` (YYYY-MM), of one client or of all clients.

        Waits up to `wait_s` (at most MAX_WAIT_S) until Kafka has answered and everything committed
        by then is counted. Raises StoreUnavailable. Without an answer of Kafka the usage is not
        complete.
        """
        deadline = Deadline(min(wait_s, MAX_WAIT_S))
        ends = self._ask(deadline)
        if isinstance(ends, KafkaUnavailable):
            found = self._cells.read(month)
            return Usage(month, False, str(ends), {}, rows(found.months.get(month, {}), client))
        while True:
            found = self._cells.read(month)
            standing = progress_of(found)
            reason = why_incomplete(standing, month, ends.log, ends.ends)
            if not reason or deadline.is_over():
                break
            time.sleep(_STEP_S)
        cells = found.months.get(month, {})
        return Usage(month, not reason, reason, lag(standing, ends.ends), rows(cells, client))

    def _ask(self, deadline: Deadline) -> LogEnds | KafkaUnavailable:
        while True:
            try:
                return self._ends.ask()
            except KafkaUnavailable as error:
                if deadline.is_over():
                    return error
            time.sleep(_STEP_S)


def progress_of(found: Snapshot) -> CountingProgress:
    """The counting progress of this snapshot."""
    return CountingProgress(found.whole, found.log, found.watermarks, found.holes)
