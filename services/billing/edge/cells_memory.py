"""The in-memory twin of RedisCells, for tests of the code that uses the cells.

tests/contract/test_cells.py checks that it behaves like RedisCells, partial losses included: it
can lose what Redis can lose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services.billing.edge.cells import NO_WATERMARK
from shared.store.apply_cells import Applied, OtherLog, Run, Stale
from shared.store.read_cells import ALL_MONTHS, NO_MONTH, Snapshot


class MemoryCells:
    """Cells in this process. Not thread-safe."""

    def __init__(self) -> None:
        self._log: str | None = None  # None: the state is empty
        self._watermarks: dict[int, int] = {}
        self._holes: dict[int, str] = {}
        self._known: set[str] = set()
        self._months: dict[str, Counter[str]] = {}

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add a run's counts and move its partition's watermark, or do neither."""
        if self._log is not None and self._log != run.log:
            return OtherLog(self._log)
        if self._log is not None and not self._whole():
            for month in self._known:
                self._months.pop(month, None)
            self.drop()
            return Stale(NO_WATERMARK, dropped=True)
        stored = self._watermarks.get(run.partition, NO_WATERMARK)
        if stored != run.expected:
            return Stale(stored)
        self._log = run.log
        for month, cell, number in run.increments:
            if month not in self._known:
                self._known.add(month)
                self._months[month] = Counter()
            self._months[month][cell] += number
        if run.target != stored:
            self._watermarks[run.partition] = run.target
        if run.hole > self._holes.get(run.partition, ""):
            self._holes[run.partition] = run.hole
        return Applied()

    def read(self, month: str = NO_MONTH) -> Snapshot:
        """The cells of a month (YYYY-MM) or of ALL_MONTHS, with their watermarks."""
        wanted = self._known if month == ALL_MONTHS else self._known & {month}
        return Snapshot(
            whole=self._whole(),
            log=self._log or "",
            watermarks=dict(self._watermarks),
            holes=dict(self._holes),
            months={each: dict(self._months[each]) for each in wanted} if self._whole() else {},
        )

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts and count another log on top of them, from its beginning."""
        before = self._log
        if before is None:
            return ""
        if before != log:
            self._log = log
            self._watermarks.clear()
            self._holes = dict.fromkeys(partitions, month)
        return before

    def drop(self) -> None:
        """Drop all counts; the cells of the months remain until new counts replace them."""
        self._log = None
        self._watermarks.clear()
        self._holes.clear()
        self._known.clear()

    def lose_month(self, month: str) -> None:
        """Lose one month's cells, like a store that evicts keys when memory is short."""
        self._months.pop(month, None)

    def _whole(self) -> bool:
        return all(month in self._months for month in self._known)
