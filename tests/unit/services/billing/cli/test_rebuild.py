"""When dropping all counts would lose some for good, and who is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.billing.cli import counts
from services.billing.cli.counts import lost_beginnings, lost_holes, lost_logs
from services.billing.edge.cells import NO_WATERMARK
from services.billing.edge.cells_memory import MemoryCells
from shared.store.apply_cells import Run

LOG = "log-1"
Rebuild = Callable[..., Result]


class Topic:
    """billing.statements, with a checkpoint of a log."""

    def __init__(self, log: str) -> None:
        best = SimpleNamespace(log=log) if log else None
        self.checkpoints = SimpleNamespace(best=lambda: best)
        self.written: list[Any] = []

    def read(self) -> None:
        pass

    def write(self, entries: list[Any]) -> None:
        self.written += entries

    def close(self) -> None:
        pass


class Log:
    """mail.events, with its beginning."""

    def __init__(self, begin: int) -> None:
        self._begin = begin

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def id(self) -> str:
        return LOG

    def begins(self) -> dict[int, int]:
        return {0: self._begin}


def counted_cells(log: str) -> MemoryCells:
    cells = MemoryCells()
    cells.apply(Run(log, 0, NO_WATERMARK, 5, (("2026-10", "cell", 5),)))
    return cells


@pytest.fixture
def rebuild(monkeypatch: pytest.MonkeyPatch) -> Rebuild:
    def run(
        cells: MemoryCells, *options: str, begin: int = 0, checkpoint: str = "", stdin: str = ""
    ) -> Result:
        parts = SimpleNamespace(options=None, cells=cells)
        monkeypatch.setattr(counts, "connect_to", lambda _: parts)
        monkeypatch.setattr(counts, "EventLog", lambda _: Log(begin))
        monkeypatch.setattr(counts, "StatementTopic", lambda _: Topic(checkpoint))
        return CliRunner().invoke(counts.rebuild, options, input=stdin)

    return run


def adopted() -> MemoryCells:
    cells = counted_cells("log-0")
    cells.adopt(LOG, "2026-10", [0])
    return cells


@pytest.mark.parametrize(
    ("make", "settings", "said"),
    [
        (lambda: counted_cells(LOG), {"begin": 3}, "3 of partition 0"),
        (lambda: counted_cells("log-0"), {}, "another log (log-0)"),
        (MemoryCells, {"checkpoint": "log-0"}, "another log (log-0)"),
        (adopted, {}, "up to 2026-10 include events"),
    ],
    ids=["deleted", "another log", "checkpoint of another log", "adopted"],
)
def test_counts_whose_events_are_gone_are_dropped_only_with_lose_counts(
    rebuild: Rebuild, make: Callable[[], MemoryCells], settings: dict[str, Any], said: str
) -> None:
    cells = make()
    before = cells.read("2026-10")
    found = rebuild(cells, "--yes", "--json", **settings)
    assert found.exit_code == 2
    assert said in found.output
    assert "--lose-counts" in found.output
    assert cells.read("2026-10") == before
    assert rebuild(cells, "--yes", "--lose-counts", **settings).exit_code == 0
    assert not cells.read("2026-10").log


def test_counts_that_can_be_counted_again_are_dropped(rebuild: Rebuild) -> None:
    cells = counted_cells(LOG)
    found = rebuild(cells, "--yes", "--json", checkpoint=LOG)
    assert (found.exit_code, json.loads(found.stdout)) == (0, {"dropped": True})
    assert not cells.read("2026-10").log


@pytest.mark.parametrize("stdin", ["", "y\n"])
def test_nobody_to_answer_is_wrong_use_that_names_the_option(rebuild: Rebuild, stdin: str) -> None:
    cells = counted_cells(LOG)
    found = rebuild(cells, "--json", stdin=stdin)
    assert found.exit_code == 2
    assert "--yes" in json.loads(found.stdout)["error"]
    assert cells.read().log == LOG


def test_nothing_is_lost_while_kafka_has_all_events() -> None:
    assert lost_beginnings({0: 0, 1: 0}) == ""
    assert lost_logs(set(), LOG) == lost_logs({LOG}, LOG) == ""
    assert lost_holes({}) == ""


def test_the_partitions_whose_beginning_is_gone_are_named() -> None:
    found = lost_beginnings({1: 7, 0: 0, 2: 12})
    assert "(up to the offsets 7 of partition 1, 12 of partition 2)" in found
