"""Who reads cells beside a process of an earlier version reads again at once, and gets a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.usage_api.query import Filters
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.log_ends import LogEnds
from services.billing.edge.one_moment import read_at_one_moment
from services.billing.edge.usage_view import UsageView
from services.billing.edge.views.shelf import Shelf
from shared.runtime.clock import SystemClock
from shared.store.apply_cells import Run
from shared.store.client import StoreUnavailable
from shared.store.read_cells import Counts, Snapshot
from shared.store.read_pieces import CellsChanged

MONTHS = ("2026-09", "2026-10")
NAMES = [encode_cell(Cell("shop", f"m{number}", "", "billed")) for number in range(5)]


class ChangedCells(MemoryCells):
    """The first readings end with this error, after some cells."""

    def __init__(self, *faults: StoreUnavailable) -> None:
        super().__init__()
        self._faults = list(faults)
        increments = tuple((month, name, 2) for month in MONTHS for name in NAMES)
        self.apply(Run("log", 0, -1, 7, increments))

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        with super().reading(*months) as (found, cells):
            yield found, self._until_fault(cells)

    def _until_fault(self, cells: Counts) -> Counts:
        for place, cell in enumerate(cells):
            if place == 3 and self._faults:
                raise self._faults.pop()
            yield cell


class Ends:
    def ask(self) -> LogEnds:
        return LogEnds("log", {0: 7})


def usage(cells: MemoryCells, _: Path) -> int:
    return sum(row.billed for row in UsageView(cells, Ends()).read(MONTHS[1]).rows)


def view(cells: MemoryCells, folder: Path) -> int:
    found = Shelf(cells, SystemClock(), folder).live(MONTHS[1], cells.read())
    return sum(row.counts[0] for row in found.view.rows(("client",), Filters()))


def all_months(cells: MemoryCells, _: Path) -> int:
    taken: dict[tuple[str, ...], int] = {}

    def take(months: Sequence[str], _: Snapshot, counts: Counts) -> None:
        taken[tuple(months)] = sum(number for _, _, number in counts)

    read_at_one_moment(cells, lambda found: found.versions, take)
    return sum(taken.values()) // len(MONTHS)


READERS = [usage, view, all_months]


@pytest.mark.parametrize("read", READERS)
def test_cells_that_changed_are_read_again(
    read: Callable[[MemoryCells, Path], int], tmp_path: Path
) -> None:
    assert read(ChangedCells(CellsChanged("changed")), tmp_path) == 10


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "faults", [[StoreUnavailable("lost")], [CellsChanged("changed"), CellsChanged("changed")]]
)
def test_lost_cells_and_a_second_change_are_an_error(
    read: Callable[[MemoryCells, Path], int], faults: list[StoreUnavailable], tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable):
        read(ChangedCells(*faults), tmp_path)
