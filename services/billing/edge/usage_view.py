"""Answers "how much was used in this month" from the cells, and says whether that is all.

The ends of the log are asked first and the cells read after, so `complete` means: every
event that was committed when the question came is counted in the answer.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

from services.billing.core.answer import CountingProgress, Usage, lag, why_incomplete
from services.billing.core.usage import rows
from services.billing.edge.cells import Cells
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from shared.runtime.deadline import Deadline
from shared.store.read_cells import Snapshot

MAX_WAIT_S: Final = 60.0
_STEP_S: Final = 0.05


class AsksEnds(Protocol):
    """Where the log ends now; EndsAsker in earnest."""

    def ask(self) -> LogEnds:
        """Raises KafkaAwayError."""


class UsageView:
    """Reads usage. For threads."""

    def __init__(self, cells: Cells, ends: AsksEnds) -> None:
        self._cells = cells
        self._ends = ends

    def read(self, month: str, client: str = "", wait_s: float = 0.0) -> Usage:
        """The usage of `month` (YYYY-MM), of one client or of all.

        Waits up to `wait_s` (MAX_WAIT_S at most) for what is committed now to be counted.
        Raises StoreAwayError. When Kafka is away the answer is not complete.
        """
        try:
            ends = self._ends.ask()
        except KafkaUnavailable as error:
            found = self._cells.read(month)
            return Usage(month, False, str(error), {}, rows(found.months.get(month, {}), client))
        deadline = Deadline(min(wait_s, MAX_WAIT_S))
        while True:
            found = self._cells.read(month)
            standing = progress_of(found)
            reason = why_incomplete(standing, month, ends.log, ends.ends)
            if not reason or deadline.is_over():
                break
            time.sleep(_STEP_S)
        cells = found.months.get(month, {})
        return Usage(month, not reason, reason, lag(standing, ends.ends), rows(cells, client))


def progress_of(found: Snapshot) -> CountingProgress:
    """How far the cells of this snapshot are."""
    return CountingProgress(found.whole, found.log, found.watermarks, found.holes)
