"""The live cells in Redis: counts by month, updated atomically with their watermarks.

Owns the key. Does not own: the counting (core/usage.py), the scripts (shared/store).
MemoryCells (cells_memory.py) is the in-memory twin; tests/contract/test_cells.py runs the same
tests on both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import redis

from shared.store.adopt_log import AdoptLog
from shared.store.apply_cells import Applied, ApplyCells, OtherLog, Run, Stale
from shared.store.client import store_errors
from shared.store.read_cells import NO_MONTH, ReadCells, Snapshot

# The braces are the hash tag: they keep all keys in one slot of a Redis cluster.
STATE_KEY: Final = "{sluice:billing}:cells"
NO_WATERMARK: Final = -1


class Cells(Protocol):
    """The store of the counts. Every method may raise StoreUnavailable."""

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add a run's counts and move its partition's watermark, or do neither."""

    def read(self, month: str = NO_MONTH) -> Snapshot:
        """The cells of a month (YYYY-MM) or of ALL_MONTHS, with their watermarks."""

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts and count another log on top of them, from its beginning.

        Marks the partitions as incomplete up to this month (YYYY-MM). Returns the id of the
        previous log; "" if there are no counts.
        """

    def drop(self) -> None:
        """Drop all counts; the workers then count again from the beginning of the log."""


class RedisCells:
    """Cells in Redis or Valkey."""

    def __init__(self, client: redis.Redis, state: str = STATE_KEY) -> None:
        self._client = client
        self._state = state
        self._apply = ApplyCells(client, state)
        self._read = ReadCells(client, state)
        self._adopt = AdoptLog(client, state)

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add a run's counts and move its partition's watermark, or do neither."""
        return self._apply.run(run)

    def read(self, month: str = NO_MONTH) -> Snapshot:
        """The cells of a month (YYYY-MM) or of ALL_MONTHS, with their watermarks."""
        return self._read.run(month)

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts and count another log on top of them, from its beginning."""
        return self._adopt.run(log, month, partitions)

    def drop(self) -> None:
        """Drop all counts; the hashes of the months remain until new counts replace them."""
        with store_errors():
            self._client.unlink(self._state)
