"""Adapts the number of records that a relay reads at a time, so that a batch takes a bounded time.

A batch that outlasts the poll interval costs the member its membership: the broker refuses the
commit, and the same records are read again. Batches shrink until they fit, whatever a record costs.
"""

from __future__ import annotations

from typing import Final

# Less than a tenth of the poll interval. A rebalance also waits this long for this member.
TARGET_S: Final = 5.0


class BatchSize:
    """The number of records to read next, derived from the duration of the last batches."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = most

    def took(self, records: int, seconds: float) -> None:
        """Record the duration of a batch, committed or not."""
        if seconds > TARGET_S:
            self.records = max(1, int(records * TARGET_S / seconds))
        elif records >= self.records:
            self.records = min(self._most, 2 * self.records)
