"""read_cells.lua: reads billing cells, and the watermarks up to which records are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis
from msgspec import Struct

from shared.store.script import Script

NAME: Final = "read_cells"
# Reading all months blocks the server for about a second per million cells.
ALL_MONTHS: Final = "*"

# (month, name of the cell, count); the cells of each month are consecutive.
Counts = Iterator[tuple[str, str, int]]


class Snapshot(Struct, frozen=True):
    """Cells by month, counted exactly up to the watermarks (the next offset of each partition).

    `whole` is False if a part of the stored data is lost; `months` is then empty. `holes` has, by
    partition, the last month with records that Kafka deleted before they were counted.
    """

    whole: bool
    log: str
    watermarks: dict[int, int]
    holes: dict[int, str]
    months: dict[str, dict[str, int]]
    # The value changes each time the store loses its data. The value is "" if there are no counts.
    generation: str = ""
    # The number of runs that changed a month, for every month that has cells.
    versions: dict[str, int] = {}
    # True if an operator deleted the counts. So the counts must not be restored; all events must be
    # counted from the beginning.
    dropped: bool = False


class ReadCells:
    """The script on one Redis client. `state` is the key of the script, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._state = state

    def run(self, *months: str) -> Snapshot:
        """Read these months (YYYY-MM), or ALL_MONTHS. Raises StoreUnavailable."""
        return snapshot_of(*self._script.run([self._state], [*months]))


def snapshot_of(whole: int, state: Sequence[Any], cells: Sequence[Any]) -> Snapshot:
    """Build a Snapshot from a script's result, in which state and cells are flat lists."""
    fields = dict(_pairs(state))
    return Snapshot(
        whole=bool(whole),
        log=fields.get("log", ""),
        watermarks={key: int(value) for key, value in _numbered(fields, "watermark:")},
        holes=dict(_numbered(fields, "hole:")),
        months={month: _cells(flat) for month, flat in _pairs(cells)},
        generation=fields.get("generation", ""),
        versions={
            name.removeprefix("month:"): int(value)
            for name, value in fields.items()
            if name.startswith("month:")
        },
        dropped="dropped" in fields,
    )


def _cells(flat: Sequence[str]) -> dict[str, int]:
    return {cell: int(count) for cell, count in _pairs(flat) if cell != "generation"}


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _numbered(fields: dict[str, str], prefix: str) -> Iterator[tuple[int, str]]:
    for name, value in fields.items():
        if name.startswith(prefix):
            yield int(name.removeprefix(prefix)), value
