"""The views of the adjustments in a statement, and of the adjustments in the next statement.

The adjustments in a statement never change. They are the first lines of the statement, so only
these lines are read for a view. Only one line is in memory at a time. The most recently used views
are kept.

If events of a month are counted after its close, they become adjustments in the next statement. The
view of these pending adjustments has, for each cell, the present count minus the counts in all
statements about the month. The counts of the month are compared with the statements when a request
asks for the month. They are compared again only if the counts or the statements have changed. The
comparison of a million cells takes about ten seconds. So comparisons may take only a limited share
of the time. Memory is bounded (edge/temporary_files.py).

Only one month is compared at a time. During a comparison, another request gets the existing view of
its month if this view is from a comparison with the newest statement. If there is no such view,
BeingCompared is raised, because an adjustment that is already in the newest statement must not be
shown as pending. If StoreUnavailable, DiskUnavailable, sqlite3.Error or OSError is raised, the new
view is dropped.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final

from services.billing.core.cells import Cell
from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.core.closing.statement import digest
from services.billing.edge.one_moment import by_month
from services.billing.edge.temporary_files import SortedCounts
from services.billing.edge.usage_view import progress_of
from services.billing.edge.views.shelf import (
    Shelf,
    Shelved,
    id_of,
    stated_view,
    usable_until,
    with_progress,
)
from shared.runtime.clock import Clock
from shared.store.read_cells import Snapshot
from shared.store.read_pieces import as_copy_if_changed

MAX_VIEWS: Final = 36


class KeptViews:
    """Keeps the MAX_VIEWS most recently used views. When a view is dropped, its file is removed as
    soon as the last reader of the view has finished."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Shelved] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Shelved | None:
        """Return the view with this name. Return None if the view was dropped, or if another
        program has removed its file."""
        with self._lock:
            found = self._kept.get(name)
        return found if found is not None and found.view.is_there() else None

    def keep(self, name: str, shelved: Shelved) -> Shelved:
        """Store this view as the most recently used view, and return it."""
        with self._lock:
            self._kept[name] = shelved
            self._kept.move_to_end(name)
            while len(self._kept) > MAX_VIEWS:
                self._kept.popitem(last=False)
        return shelved


class StatedAdjustments:
    """The views of adjustments in one process. Thread-safe."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._kept = KeptViews()

    def of(self, month: str, statement: Closed) -> Shelved:
        """Return the adjustments of a month in this statement. Raises sqlite3.Error, OSError."""
        name = f"{statement.statement.sha256[:16]}.{month}"
        return self._kept.keep(name, self._kept.get(name) or self._made(name, month, statement))

    def _made(self, name: str, month: str, statement: Closed) -> Shelved:
        lines = (line for line in statement.adjustments() if line.month == month)
        own = ((cell_of(line), line.count) for line in lines)
        return stated_view(name, self._shelf.sorted_view(month, own), statement)


def adjusted_months(statement: Closed) -> tuple[str, ...]:
    """Return the months that have adjustments in a statement. The months are in order."""
    return tuple(dict.fromkeys(line.month for line in statement.adjustments()))


class BeingCompared(Exception):
    """The counts of a month are being compared, and there is no valid view of the requested
    month."""


class PendingAdjustments:
    """The views of adjustments in one process. Thread-safe."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._kept = KeptViews()
        self._comparing = threading.Lock()

    def of(self, month: str, closed: Mapping[str, Closed], state: Snapshot) -> Shelved:
        """Return the adjustments of this closed month that will be in the next statement."""
        stated = digest(closed[max(closed)].statement)[:8]
        found = self._kept.get(month)
        # A view that was compared with earlier statements must not be used, because its adjustments
        # may already be in the newest statement.
        if found is not None and not found.id.endswith(f".{stated}"):
            found = None
        if found is not None and self._is_usable(found, state):
            return found if not found.is_of(state) else with_progress(found, state, self._now_ms())
        if not self._comparing.acquire(blocking=False):
            if found is not None:
                return found
            raise BeingCompared
        try:
            return self._kept.keep(month, self._compare(month, closed, stated))
        finally:
            self._comparing.release()

    def _is_usable(self, found: Shelved, state: Snapshot) -> bool:
        return found.is_of(state) or self._clock.monotonic() < found.usable_until

    def _compare(self, month: str, closed: Mapping[str, Closed], stated: str) -> Shelved:
        began, at_ms = self._clock.monotonic(), self._now_ms()
        with closing(SortedCounts()) as counts:
            for each in sorted(closed):
                lines = closed[each].stated(month)
                counts.add_before((month, cell_of(line), line.count) for line in lines)
            moment = as_copy_if_changed(lambda: self._read(month, counts))
            view = self._shelf.sorted_view(month, _differences(counts))
        ended = self._clock.monotonic()
        counted = id_of(moment, month)
        return Shelved(
            f"{counted}.{stated}",
            view,
            progress_of(moment),
            at_ms,
            usable_until=usable_until(began, ended),
            counted=counted,
        )

    def _read(self, month: str, counts: SortedCounts) -> Snapshot:
        counts.clear_now(month)
        with self._shelf.cells.reading(month) as (moment, found):
            for _, cells in by_month([month], found):
                counts.add_now(cells)
        return moment

    def _now_ms(self) -> int:
        return self._clock.now_ms()


def _differences(counts: SortedCounts) -> Iterator[tuple[Cell, int]]:
    for each in counts.differences():
        yield each.cell, each.now - each.before
