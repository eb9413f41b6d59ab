"""Reads the usage of a month from the cells, and decides whether the counts are complete.

The end offsets of the log are read first, and the cells afterwards. So `complete` means that the
answer includes every event that was committed when the query arrived. The cells are read once, in
pieces, and each cell is immediately added to its row. So the memory use depends on the number of
mailings and not on the number of cells.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

from services.billing.core.answer import CountingProgress, Row, Usage, gather, lag, why_incomplete
from services.billing.core.cells import decode_cell
from services.billing.edge.cells import Cells
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from shared.runtime.clock import Deadline
from shared.store.read_cells import Snapshot
from shared.store.read_pieces import as_copy_if_changed

MAX_WAIT_S: Final = 60.0
_STEP_S: Final = 0.05


class AsksEnds(Protocol):
    """Asks for the present end offsets of the log. In production this is EndsAsker."""

    def ask(self) -> LogEnds:
        """Raises KafkaUnavailable."""


class UsageView:
    """Reads usage. Thread-safe."""

    def __init__(self, cells: Cells, ends: AsksEnds) -> None:
        self._cells = cells
        self._ends = ends

    def read(self, month: str, client: str = "", wait_s: float = 0.0) -> Usage:
        """Return the usage of `month` (YYYY-MM), for one client or for all clients.

        Waits until Kafka has answered, and until every event that was committed before this answer
        is counted. Waits for at most `wait_s` seconds and at most MAX_WAIT_S. If Kafka does not
        answer, the usage is marked as not complete. Raises StoreUnavailable.
        """
        deadline = Deadline(min(wait_s, MAX_WAIT_S))
        # If the store does not answer, this short query fails soon. The read of a month has a
        # longer time-out.
        self._cells.read()
        ends = self._ask(deadline)
        if not isinstance(ends, KafkaUnavailable):
            self._wait_for(month, ends, deadline)
        found, rows = as_copy_if_changed(lambda: self._rows(month, client))
        if isinstance(ends, KafkaUnavailable):
            return Usage(month, False, str(ends), {}, rows)
        standing = progress_of(found)
        reason = why_incomplete(standing, month, ends.log, ends.ends)
        return Usage(month, not reason, reason, lag(standing, ends.ends), rows)

    def _rows(self, month: str, client: str) -> tuple[Snapshot, list[Row]]:
        with self._cells.reading(month) as (found, cells):
            named = ((decode_cell(name), number) for _, name, number in cells)
            return found, gather(named, client)

    def _wait_for(self, month: str, ends: LogEnds, deadline: Deadline) -> None:
        """Wait until every event before `ends` is counted, or until the deadline."""
        while not deadline.is_over():
            standing = progress_of(self._cells.read())
            if not why_incomplete(standing, month, ends.log, ends.ends):
                return
            time.sleep(deadline.at_most(_STEP_S))

    def _ask(self, deadline: Deadline) -> LogEnds | KafkaUnavailable:
        while True:
            try:
                return self._ends.ask()
            except KafkaUnavailable as error:
                if deadline.is_over():
                    return error
            time.sleep(_STEP_S)


def progress_of(found: Snapshot) -> CountingProgress:
    """Return the counting progress of this snapshot."""
    return CountingProgress(found.whole, found.log, found.watermarks, found.holes)
