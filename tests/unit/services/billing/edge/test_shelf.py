"""The views of a process, on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import pytest

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.closing.chain import Closed
from services.billing.core.month import Months
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.views.shelf import IDLE_S, SHARE, STALE_S, Shelf
from services.billing.edge.views.warming import ASKED_S, LOOK_BACK_S, Warmer
from shared.runtime.clock import FakeClock
from shared.store.apply_cells import Run
from shared.store.client import StoreUnavailable
from shared.store.read_cells import Counts, Snapshot
from tests.support.billing.api import BrokenCells, FakeBooks


def folders(root: Path) -> list[str]:
    return sorted(each.name for each in root.iterdir())


def test_what_a_killed_process_left_is_removed_and_that_of_a_running_one_stays(
    tmp_path: Path,
) -> None:
    clock, cells = FakeClock(), MemoryCells()
    first = Shelf(cells, clock, tmp_path)
    first.live("2026-11", first.state())
    (mine,) = folders(tmp_path)
    pid = mine.split("-")[2]
    for other in ("sluice-views-99999999-5-a", f"sluice-views-{pid}-5-a", "another"):
        (tmp_path / other).mkdir()
    second = Shelf(cells, clock, tmp_path)
    assert folders(tmp_path) == ["another", mine]
    first.close()
    second.close()
    assert folders(tmp_path) == ["another"]


def test_only_so_many_views_stay_on_disk(tmp_path: Path) -> None:
    shelf = Shelf(MemoryCells(), FakeClock(), tmp_path)
    for number in range(60):
        shelf.live(f"{1970 + number}-01", shelf.state())
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == 48
    shelf.close()


MONTH = "2023-11"  # of FakeClock


class SlowCells(MemoryCells):
    """Reading a month takes a second, and may be held up."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.sorted = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        self.sorted += 1
        self.begun.set()
        assert self.go_on.wait(60)
        self.clock.go_on(1)
        with super().reading(*months) as found:
            yield found

    def count(self) -> None:
        mark = self.read().watermarks.get(0, -1)
        name = encode_cell(Cell("shop", "news", "", "billed", "01"))
        self.apply(Run("log", 0, mark, mark + 1, ((MONTH, name, 1),)))


def test_nobody_has_a_month_sorted_more_often_than_its_share(tmp_path: Path) -> None:
    clock = FakeClock()
    cells = SlowCells(clock)
    shelf = Shelf(cells, clock, tmp_path)
    for _ in range(100):
        cells.count()
        shelf.live(MONTH, shelf.state())
    assert cells.sorted == 1
    clock.go_on(SHARE)
    found = shelf.live(MONTH, shelf.state())
    assert (cells.sorted, found.progress.watermarks) == (2, {0: 99})
    shelf.close()


def test_requests_get_the_view_before_while_another_thread_sorts(tmp_path: Path) -> None:
    clock = FakeClock()
    cells = SlowCells(clock)
    cells.count()
    shelf = Shelf(cells, clock, tmp_path)
    first = shelf.live(MONTH, shelf.state())
    cells.count()
    clock.go_on(SHARE)
    warmer = Warmer(shelf, Months(UTC), clock, FakeBooks())
    cells.begun.clear()
    cells.go_on.clear()
    thread = threading.Thread(target=warmer.turn)
    thread.start()
    assert cells.begun.wait(60)
    assert shelf.live(MONTH, shelf.state()) is first
    cells.go_on.set()
    thread.join(60)
    assert shelf.live(MONTH, shelf.state()).id != first.id
    assert cells.sorted == 2
    shelf.close()


def test_no_request_sorts_a_large_month_again_while_a_thread_does(tmp_path: Path) -> None:
    clock = FakeClock()
    cells = SlowCells(clock)
    shelf = Shelf(cells, clock, tmp_path, is_renewed=True, few_cells=0)
    warmer = Warmer(shelf, Months(UTC), clock, FakeBooks())
    cells.count()
    warmer.turn()
    first = shelf.live(MONTH, shelf.state())
    cells.count()
    clock.go_on(SHARE)
    assert shelf.live(MONTH, shelf.state()) is first
    assert first.progress.watermarks == {0: 0}
    warmer.turn()
    second = shelf.live(MONTH, shelf.state())
    assert (cells.sorted, second.progress.watermarks) == (2, {0: 1})
    # Nobody asks for it: it is sorted now and then, so that the next request finds a recent view.
    cells.count()
    clock.go_on(IDLE_S)
    warmer.turn()
    assert cells.sorted == 3
    # The thread cannot sort for long: the request does it itself.
    cells.count()
    clock.go_on(STALE_S)
    assert shelf.live(MONTH, shelf.state()).progress.watermarks == {0: 3}
    shelf.close()


def test_a_request_sorts_a_month_of_few_cells_though_that_took_long_once(tmp_path: Path) -> None:
    """At the start of a process, or beside other load."""
    clock = FakeClock()
    cells = SlowCells(clock)
    shelf = Shelf(cells, clock, tmp_path, is_renewed=True)
    cells.count()
    Warmer(shelf, Months(UTC), clock, FakeBooks()).turn()
    cells.count()
    clock.go_on(SHARE)
    assert shelf.live(MONTH, shelf.state()).progress.watermarks == {0: 1}
    shelf.close()


def test_a_month_that_requests_want_is_renewed_though_it_is_not_the_present_one(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    cells = SlowCells(clock)
    cells.count()
    shelf = Shelf(cells, clock, tmp_path, is_renewed=True, few_cells=0)
    warmer = Warmer(shelf, Months(UTC), clock, FakeBooks())
    clock.go_on(40 * 86_400)
    first = shelf.live(MONTH, shelf.state())
    warmer.turn()
    cells.count()
    clock.go_on(SHARE)
    stale = shelf.live(MONTH, shelf.state())
    assert (stale.id, stale.progress) == (first.id, first.progress)
    warmer.turn()
    assert shelf.live(MONTH, shelf.state()).progress.watermarks == {0: 1}
    assert shelf.wanted() == []
    shelf.close()


def test_the_present_month_is_sorted_before_anybody_asks_and_every_ten_minutes_while_nobody_does(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    cells = SlowCells(clock)
    shelf = Shelf(cells, clock, tmp_path)
    warmer = Warmer(shelf, Months(UTC), clock, FakeBooks())
    warmer.turn()
    assert cells.sorted == 1
    cells.count()
    clock.go_on(SHARE)
    warmer.turn()
    assert cells.sorted == 1
    shelf.live(MONTH, shelf.state())
    assert cells.sorted == 2
    cells.count()
    clock.go_on(SHARE)
    warmer.turn()
    assert cells.sorted == 3
    cells.count()
    clock.go_on(IDLE_S - 1)
    warmer.turn()
    assert cells.sorted == 4
    clock.go_on(ASKED_S - IDLE_S + 1)
    warmer.turn()
    assert cells.sorted == 4
    cells.count()
    clock.go_on(SHARE)
    warmer.turn()
    assert cells.sorted == 4
    clock.go_on(IDLE_S)
    warmer.turn()
    assert cells.sorted == 5
    shelf.close()


class FaultyBooks(FakeBooks):
    """Statements that cannot be read while `fault` says so."""

    fault = ""

    def closed(self) -> tuple[dict[str, Closed], str]:
        return self.found, self.fault


LAST = "2023-10"  # the month before that of FakeClock


def closed_and_present(cells: MemoryCells, books: FakeBooks) -> None:
    name = encode_cell(Cell("shop", "news", "", "billed", "01"))
    cells.apply(Run("log", 0, -1, 2, ((LAST, name, 1), (MONTH, name, 1))))
    books.close_month(LAST, {LAST: {name: 7}})


def test_a_process_is_ready_when_the_present_month_and_the_one_before_are_sorted(
    tmp_path: Path,
) -> None:
    clock, books = FakeClock(), FaultyBooks()
    cells = SlowCells(clock)
    shelf = Shelf(cells, clock, tmp_path, is_renewed=True)
    warmer = Warmer(shelf, Months(UTC), clock, books)
    closed_and_present(cells, books)
    statement = books.found.pop(LAST)
    books.fault = "Kafka: no broker answers"
    assert warmer.fault == "the months are being sorted"
    warmer.turn()
    assert warmer.fault == "Kafka: no broker answers"
    books.fault, books.found[LAST] = "", statement
    warmer.turn()
    assert (warmer.fault, cells.sorted) == ("", 1)
    name = statement.statement.sha256[:16]
    kept = shelf.kept(LAST, name)
    assert kept is not None
    assert shelf.closed(statement).view is kept.view
    # It stays ready: later faults are those of requests.
    books.fault = "Kafka: no broker answers"
    clock.go_on(LOOK_BACK_S)
    warmer.turn()
    assert warmer.fault == ""
    shelf.close()


def test_the_month_before_is_sorted_again_from_its_statement_soon_after_it_is_closed(
    tmp_path: Path,
) -> None:
    clock, books = FakeClock(), FakeBooks()
    cells = SlowCells(clock)
    shelf = Shelf(cells, clock, tmp_path, is_renewed=True)
    warmer = Warmer(shelf, Months(UTC), clock, books)
    closed_and_present(cells, books)
    statement = books.found.pop(LAST)
    warmer.turn()
    assert cells.sorted == 2
    books.found[LAST] = statement
    warmer.turn()
    assert shelf.kept(LAST, statement.statement.sha256[:16]) is None
    clock.go_on(LOOK_BACK_S)
    warmer.turn()
    assert shelf.kept(LAST, statement.statement.sha256[:16]) is not None
    shelf.close()


def test_a_process_whose_store_is_unavailable_says_so_until_it_has_sorted(tmp_path: Path) -> None:
    clock, cells = FakeClock(), BrokenCells()
    shelf = Shelf(cells, clock, tmp_path, is_renewed=True)
    warmer = Warmer(shelf, Months(UTC), clock, FakeBooks())
    cells.broken = True
    with pytest.raises(StoreUnavailable):
        warmer.turn()
    assert warmer.fault
    cells.broken = False
    warmer.turn()
    assert warmer.fault == ""
    shelf.close()
