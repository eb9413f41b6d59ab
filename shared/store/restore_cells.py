"""restore_cells.lua: replaces lost billing cells with the cells of a checkpoint.

The cells are first collected in separate hashes, so that no command blocks the server for long. If
the process is killed, these hashes expire.

If the checkpoint has a cell twice, RepeatedCell is raised, because other cells may be missing. If
the server loses collected cells, StoreUnavailable is raised.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from typing import Final

import redis

from shared.store.client import StoreUnavailable, store_errors
from shared.store.read_cells import Counts, Snapshot
from shared.store.script import Script

NAME: Final = "restore_cells"
_BATCH: Final = 5_000  # the number of cells that one command writes
_EXPIRE_S: Final = 3_600
_GONE: Final = "Redis: a month of the checkpoint is gone"


class RepeatedCell(Exception):
    """A cell occurs twice, so the cells show different moments; nothing was restored."""

    def __init__(self, month: str) -> None:
        super().__init__(f"a cell of {month} is named twice")


class RestoreCells:
    """The script on one Redis client. `state` is the key of the script, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._client = client
        self._state = state

    def run(self, found: Snapshot, counts: Counts) -> bool:
        """Restore a snapshot of all months; return False if counts are already stored.

        `found` is the snapshot without cells. The keys of `found.versions` are the months. Raises
        StoreUnavailable or RepeatedCell.
        """
        token = secrets.token_hex(8)
        collected = {
            month: f"{self._state}:restore:{token}:{month}" for month in sorted(found.versions)
        }
        self._collect(collected, token, counts)
        keys = [self._state]
        for month, key in collected.items():
            keys += [f"{self._state}:{month}", key]
        return bool(self._script.run(keys, list(_fields(found, token))))

    def _collect(self, keys: Mapping[str, str], token: str, counts: Counts) -> None:
        with store_errors():
            for key in keys.values():
                self._client.hset(key, "generation", token)
                self._client.expire(key, _EXPIRE_S)
            for month, cells in groupby(counts, lambda each: each[0]):
                expected = 1  # the generation
                while batch := list(islice(cells, _BATCH)):
                    expected += len(batch)
                    named = {name: number for _, name, number in batch}
                    self._client.hset(keys[month], mapping=named)  # type: ignore[arg-type]
                if self._client.hlen(keys[month]) < expected:
                    is_there = self._client.hget(keys[month], "generation") == token
                    self._client.unlink(*keys.values())
                    raise RepeatedCell(month) if is_there else StoreUnavailable(_GONE)


def _fields(found: Snapshot, token: str) -> Iterator[str]:
    yield from ("generation", token, "log", found.log)
    for partition, offset in found.watermarks.items():
        yield from (f"watermark:{partition}", str(offset))
    for partition, month in found.holes.items():
        yield from (f"hole:{partition}", month)
    for month in found.versions:
        yield from (f"month:{month}", "1")
