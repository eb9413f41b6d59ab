"""Gathers the lines of a statement. The counts of one moment are compared with the statements.

There is a line for each cell of the month. There is also a line for each cell of an earlier month
whose count differs from the sum in the earlier statements. Cells of later months have no lines,
because later months have their own statements.

Memory is bounded for any number of cells and months. A failure leaves only temporary files, which
the system removes when the process ends. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from services.billing.core.closing.chain import Chain
from services.billing.core.closing.lines import Line, cell_of, line_of
from services.billing.edge.cells import Cells
from services.billing.edge.one_moment import by_month, read_at_one_moment
from services.billing.edge.temporary_files import Row, SortedCounts
from shared.store.read_cells import Counts, Snapshot


class GatheredLines:
    """The lines of the statement of `month`, which is the next statement of `chain`. close()
    removes the file with the lines."""

    def __init__(self, month: str, chain: Chain) -> None:
        self._month = month
        self._chain = chain
        self._stated = chain.stated_months()
        self._lines = SortedCounts()

    def read(self, cells: Cells) -> Snapshot:
        """Read the counts, and return the snapshot without cells. If cells are lost, `whole` is
        False in the snapshot.

        Raises StoreUnavailable, DiskUnavailable.
        """
        return read_at_one_moment(cells, self._months_of, self._take)

    def lines(self) -> Iterator[Line]:
        """Yield the lines in the order of the canonical form."""
        for each in self._lines.differences():
            yield line_of(each.month, each.cell, each.now - each.before)

    def close(self) -> None:
        """Remove the file with the lines."""
        self._lines.close()

    def _months_of(self, found: Snapshot) -> set[str]:
        months = {*found.versions, *self._stated, self._month}
        return {month for month in months if month <= self._month}

    def _take(self, months: Sequence[str], _: Snapshot, counts: Counts) -> None:
        for month, cells in by_month(months, counts):
            self._lines.remove(month)
            self._add(month, cells)

    def _add(self, month: str, cells: Iterable[Row]) -> None:
        stated = ((month, cell_of(line), line.count) for line in self._chain.stated(month))
        if month == self._month:
            self._lines.add_now(cells)
            self._lines.add_before(stated)
            return
        # An earlier month may have as many cells as this month, but only a few cells differ from
        # the statements. So only the cells that differ are kept.
        with closing(SortedCounts()) as whole:
            whole.add_now(cells)
            whole.add_before(stated)
            found = ((month, each.cell, each.now - each.before) for each in whole.differences())
            self._lines.add_now(found)
