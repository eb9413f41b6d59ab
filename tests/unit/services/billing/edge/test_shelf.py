"""The views of a process, on disk."""

from __future__ import annotations

from pathlib import Path

from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.views.shelf import Shelf
from shared.runtime.clock import FakeClock


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
