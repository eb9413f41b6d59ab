"""copy_cells.lua: copies months of billing cells, which are then read in pieces and removed.

Copying takes the server about half a second per million cells, and the memory of these months once
more, so this is only the way beside processes of an earlier version (read_pieces.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis

from shared.store.client import StoreUnavailable, store_errors
from shared.store.read_cells import Snapshot, snapshot_of
from shared.store.script import Script

NAME: Final = "copy_cells"
# A reader that takes longer than this is stuck.
EXPIRES_S: Final = 600
_PIECE: Final = 5_000


class CopyCells:
    """The script on one client; `state` is its key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._client = client
        self._script = Script(client, NAME)
        self._state = state

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Iterator[tuple[str, str, int]]]]:
        """The state without cells, and the cells of these months. Raises StoreUnavailable."""
        name = secrets.token_hex(8)
        whole, state, copied = self._script.run([self._state], [name, EXPIRES_S, *months])
        copies = {month: f"{self._state}:copy:{name}:{month}" for month in sorted(copied)}
        try:
            yield snapshot_of(whole, state, []), self._cells(copies)
        finally:
            if copies:
                with store_errors():
                    self._client.unlink(*copies.values())

    def _cells(self, copies: dict[str, str]) -> Iterator[tuple[str, str, int]]:
        for month, copy in copies.items():
            seen = 0
            with store_errors():
                expected = int(self._client.hlen(copy))
                for cell, count in self._client.hscan_iter(copy, count=_PIECE):
                    seen += 1
                    if cell != "generation":
                        yield month, cell, int(count)
            if seen != expected or not expected:
                # It was evicted, or it expired: what was read is not everything.
                raise _lost(seen, expected)


def _lost(seen: int, expected: int) -> StoreUnavailable:
    return StoreUnavailable(f"Redis: {seen} of {expected} cells of a copy were there")
