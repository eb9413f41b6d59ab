"""Stores cells in memory, for tests of code that uses a store of cells.

The file tests/contract/test_cells.py checks that MemoryCells behaves like RedisCells. Redis may
lose data, so tests can make MemoryCells lose all its data or a part of its data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import structs

from services.billing.edge.cells import NO_WATERMARK, FollowsWhole
from shared.store.apply_cells import Applied, OtherLog, Run, Stale
from shared.store.read_cells import ALL_MONTHS, Counts, Snapshot
from shared.store.restore_cells import RepeatedCell


class MemoryCells:
    """Cells in the memory of this process. Not thread-safe."""

    def __init__(self) -> None:
        self._log: str | None = None  # None if the store is empty
        self._watermarks: dict[int, int] = {}
        self._holes: dict[int, str] = {}
        self._known: dict[str, int] = {}  # the number of runs that have changed each month
        self._months: dict[str, Counter[str]] = {}
        self._generation = 0
        self._dropped = False

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add the counts of a run and move the watermark of its partition in one atomic step."""
        if self._log is not None and self._log != run.log:
            return OtherLog(self._log)
        if self._log is not None and not self._whole():
            for month in self._known:
                self._months.pop(month, None)
            self._empty()
            return Stale(NO_WATERMARK, dropped=True)
        stored = self._watermarks.get(run.partition, NO_WATERMARK)
        if stored != run.expected:
            return Stale(stored)
        if self._log is None:
            self._begin(run.log)
        for month in dict.fromkeys(month for month, _, _ in run.increments):
            if month not in self._known:
                self._months[month] = Counter()
            self._known[month] = self._known.get(month, 0) + 1
        for month, cell, number in run.increments:
            self._months[month][cell] += number
        if run.target != stored:
            self._watermarks[run.partition] = run.target
        if run.hole > self._holes.get(run.partition, ""):
            self._holes[run.partition] = run.hole
        return Applied()

    def read(self, *months: str) -> Snapshot:
        """Return the cells of these months (YYYY-MM) or of ALL_MONTHS, with the watermarks."""
        wanted = self._known if ALL_MONTHS in months else self._known.keys() & set(months)
        return Snapshot(
            whole=self._whole(),
            log=self._log or "",
            watermarks=dict(self._watermarks),
            holes=dict(self._holes),
            months={each: dict(self._months[each]) for each in wanted} if self._whole() else {},
            generation=str(self._generation) if self._log is not None else "",
            versions=dict(self._known),
            dropped=self._dropped,
        )

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        """Yield a snapshot without cells, and an iterator over the cells that these months had
        at the moment of the snapshot."""
        found = self.read(*months)
        cells = (
            (month, name, number)
            for month in sorted(found.months)
            for name, number in found.months[month].items()
        )
        yield structs.replace(found, months={}), cells

    def follow(self, _: Sequence[str]) -> FollowsWhole:
        """Return a follower of all counters."""
        return FollowsWhole(self.reading)

    def restore(self, found: Snapshot, counts: Counts) -> bool:
        """If the store has no counts, store a snapshot of all months, and return True."""
        if self._log is not None or self._dropped:
            return False
        months = {month: Counter[str]() for month in found.versions}
        for month, name, number in counts:
            if name in months[month]:
                raise RepeatedCell(month)
            months[month][name] = number
        self._begin(found.log)
        self._watermarks = dict(found.watermarks)
        self._holes = dict(found.holes)
        self._known = dict.fromkeys(found.versions, 1)
        self._months = months
        return True

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts. After this call, another log is counted from its beginning."""
        before = self._log
        if before is None:
            return ""
        if before != log:
            self._log = log
            self._watermarks.clear()
            self._holes = dict.fromkeys(partitions, month)
        return before

    def drop(self) -> None:
        """Drop all counts. The cells of the months exist until new counts replace them."""
        self._empty()
        self._dropped = True

    def lose_month(self, month: str) -> None:
        """Lose one month's cells, like a store that evicts keys when memory is short."""
        self._months.pop(month, None)

    def lose_all(self) -> None:
        """Lose everything, like a store that is flushed."""
        self._empty()
        self._months.clear()

    def _begin(self, log: str) -> None:
        self._log = log
        self._generation += 1
        self._dropped = False

    def _empty(self) -> None:
        self._log = None
        self._watermarks.clear()
        self._holes.clear()
        self._known.clear()
        self._dropped = False

    def _whole(self) -> bool:
        return all(month in self._months for month in self._known)
