"""How many records a relay reads at a time, so that a batch takes a bounded time.

A batch that outlasts the poll interval costs its member the membership: the commit is refused,
and the same records are read again. Whatever a record costs, batches shrink until they fit.
"""

from __future__ import annotations

from typing import Final

# A tenth of the poll interval: also how long a rebalance waits for this member.
TARGET_S: Final = 5.0


class BatchSize:
    """The number of records to read next, from what the last batches took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = most

    def took(self, records: int, seconds: float) -> None:
        """Note a batch, committed or not."""
        if seconds > TARGET_S:
            self.records = max(1, int(records * TARGET_S / seconds))
        elif records >= self.records:
            self.records = min(self._most, 2 * self.records)
