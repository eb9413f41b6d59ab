"""read_cells.lua: reads billing cells with the watermarks up to which they are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis
from msgspec import Struct

from shared.store.script import Script

NAME: Final = "read_cells"
# Reading all months blocks the server for about a second per million cells.
ALL_MONTHS: Final = "*"
NO_MONTH: Final = ""


class Snapshot(Struct, frozen=True):
    """Cells by month, counted exactly up to the watermarks (next offset, by partition).

    `whole` is False if a part of the stored data is lost; `months` is then empty. `holes`
    has, by partition, the last month from which records were deleted before they were counted.
    """

    whole: bool
    log: str
    watermarks: dict[int, int]
    holes: dict[int, str]
    months: dict[str, dict[str, int]]


class ReadCells:
    """The script on one client; `state` is its key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._state = state

    def run(self, month: str = NO_MONTH) -> Snapshot:
        """Read `month` (YYYY-MM), ALL_MONTHS or NO_MONTH. Raises StoreUnavailable."""
        whole, state, cells = self._script.run([self._state], [month])
        fields = dict(_pairs(state))
        return Snapshot(
            whole=bool(whole),
            log=fields.get("log", ""),
            watermarks={key: int(value) for key, value in _numbered(fields, "watermark:")},
            holes=dict(_numbered(fields, "hole:")),
            months={month: _cells(flat) for month, flat in _pairs(cells)},
        )


def _cells(flat: Sequence[str]) -> dict[str, int]:
    return {cell: int(count) for cell, count in _pairs(flat) if cell != "generation"}


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _numbered(fields: dict[str, str], prefix: str) -> Iterator[tuple[int, str]]:
    for name, value in fields.items():
        if name.startswith(prefix):
            yield int(name.removeprefix(prefix)), value
