"""Lost cells are restored from the last checkpoint that has each cell once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from services.billing.core.checkpoint import Checkpoints, Manifest, StoredMonth, digest
from services.billing.core.closing.lines import PartsInMemory
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.statements.checkpointing import restore

MONTH = "2026-10"
SOUND = [{"a": 1, "b": 2}, {"c": 3}]
TWICE = [{"a": 1, "b": 2}, {"a": 1}]


class Topic:
    """The checkpoints that were written one after another, each counted further."""

    def __init__(self, written: Sequence[Sequence[dict[str, int]]]) -> None:
        self.checkpoints = Checkpoints(PartsInMemory())
        for place, chunks in enumerate(written, 1):
            self._add(place, [msgspec.msgpack.encode(chunk) for chunk in chunks])

    def _add(self, place: int, chunks: list[bytes]) -> None:
        keys = tuple(f"cells/{MONTH}/{place}/{number}" for number in range(len(chunks)))
        for key, chunk in zip(keys, chunks, strict=True):
            self.checkpoints.add(key.encode(), chunk)
        month = StoredMonth(1, keys, digest(chunks))
        manifest = Manifest(place, "log", f"g{place}", {"0": place}, {}, {MONTH: month})
        self.checkpoints.add(f"checkpoint/{place}".encode(), msgspec.json.encode(manifest))

    def read(self) -> None:
        """Everything was read."""


@pytest.mark.parametrize(
    ("written", "watermarks"),
    [
        ([], {}),
        ([SOUND], {0: 1}),
        ([SOUND, SOUND], {0: 2}),
        ([SOUND, TWICE], {0: 1}),
        ([SOUND, TWICE, TWICE], {0: 1}),
        ([TWICE], {}),
    ],
)
def test_a_checkpoint_that_names_a_cell_twice_gives_way_to_the_one_before(
    written: Sequence[Sequence[dict[str, int]]], watermarks: dict[int, int]
) -> None:
    cells = MemoryCells()
    assert restore(cells, Topic(written)) == bool(watermarks)
    found = cells.read(MONTH)
    assert found.watermarks == watermarks
    assert found.months == ({MONTH: {"a": 1, "b": 2, "c": 3}} if watermarks else {})
