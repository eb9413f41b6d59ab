"""What a statement adjusts in earlier months, as views: they never change.

A statement has its adjustments first, so making a view reads no more than these. Memory is bounded
by one line; MAX_VIEWS files are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from services.billing.core.answer import CountingProgress
from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.edge.views.shelf import Shelf, Shelved

MAX_VIEWS: Final = 36


class StatedAdjustments:
    """The views of one process. Any thread may ask."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._kept: OrderedDict[str, Shelved] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, month: str, statement: Closed) -> Shelved:
        """What this statement says about an earlier month. Raises sqlite3.Error, OSError."""
        name = f"{statement.statement.sha256[:16]}.{month}"
        with self._lock:
            found = self._kept.get(name)
        if found is None or not found.view.is_there():
            found = self._made(name, month, statement)
        with self._lock:
            self._kept[name] = found
            self._kept.move_to_end(name)
            while len(self._kept) > MAX_VIEWS:
                self._kept.popitem(last=False)
        return found

    def _made(self, name: str, month: str, statement: Closed) -> Shelved:
        header, lines = statement.statement, statement.adjustments()
        own = ((cell_of(line), line.count) for line in lines if line.month == month)
        marks = {int(part): mark for part, mark in header.offsets.items()}
        progress = CountingProgress(True, header.log, marks, {})
        view = self._shelf.sorted_view(month, own)
        return Shelved(name, view, progress, header.closed_at_ms, statement)


def adjusted_months(statement: Closed) -> tuple[str, ...]:
    """The months that a statement adjusts, in order."""
    return tuple(dict.fromkeys(line.month for line in statement.adjustments()))
