"""restore_cells.lua: puts the billing cells of a checkpoint in place of lost ones.

The cells are first collected in hashes of their own, so that the server is never held up for long;
these expire if the process dies.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import redis

from shared.store.client import store_errors
from shared.store.read_cells import Snapshot
from shared.store.script import Script

NAME: Final = "restore_cells"
_BATCH: Final = 5_000  # cells written by one command
_EXPIRE_S: Final = 3_600


class RestoreCells:
    """The script on one client; `state` is its key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._client = client
        self._state = state

    def run(self, found: Snapshot) -> bool:
        """Restore a snapshot of all months; False if there are counts. Raises StoreUnavailable."""
        token = secrets.token_hex(8)
        keys = [self._state]
        for month, cells in sorted(found.months.items()):
            collected = f"{self._state}:restore:{token}:{month}"
            self._collect(collected, token, cells)
            keys += [f"{self._state}:{month}", collected]
        return bool(self._script.run(keys, list(_fields(found, token))))

    def _collect(self, key: str, token: str, cells: Mapping[str, int]) -> None:
        names = iter(cells.items())
        with store_errors():
            self._client.hset(key, "generation", token)
            self._client.expire(key, _EXPIRE_S)
            while batch := dict(islice(names, _BATCH)):
                self._client.hset(key, mapping=batch)  # type: ignore[arg-type]


def _fields(found: Snapshot, token: str) -> Iterator[str]:
    yield from ("generation", token, "log", found.log)
    for partition, offset in found.watermarks.items():
        yield from (f"watermark:{partition}", str(offset))
    for partition, month in found.holes.items():
        yield from (f"hole:{partition}", month)
    for month in found.months:
        yield from (f"month:{month}", "1")
