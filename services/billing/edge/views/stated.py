"""What a statement adjusts in earlier months, as views: they never change.

A statement has its adjustments first, so making a view reads no more than these. Memory is bounded
by one line; the views that were used last are kept.
"""

from __future__ import annotations

from services.billing.core.closing.chain import Closed
from services.billing.core.closing.lines import cell_of
from services.billing.edge.views.kept import KeptViews
from services.billing.edge.views.shelf import Shelf, Shelved, stated_view


class StatedAdjustments:
    """The views of one process. Any thread may ask."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._kept = KeptViews()

    def of(self, month: str, statement: Closed) -> Shelved:
        """What this statement says about an earlier month. Raises sqlite3.Error, OSError."""
        name = f"{statement.statement.sha256[:16]}.{month}"
        return self._kept.keep(name, self._kept.get(name) or self._made(name, month, statement))

    def _made(self, name: str, month: str, statement: Closed) -> Shelved:
        lines = (line for line in statement.adjustments() if line.month == month)
        own = ((cell_of(line), line.count) for line in lines)
        return stated_view(name, self._shelf.sorted_view(month, own), statement)


def adjusted_months(statement: Closed) -> tuple[str, ...]:
    """The months that a statement adjusts, in order."""
    return tuple(dict.fromkeys(line.month for line in statement.adjustments()))
