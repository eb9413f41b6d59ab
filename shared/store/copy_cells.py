"""copy_cells.lua: copies months of billing cells; the copies are read in pieces and removed.

Copying takes the server about half a second per million cells and doubles the memory of these
months, so cells are copied only while processes of an earlier version run (read_pieces.py).

Every failure raises StoreUnavailable. Reading also fails if a copy was evicted or has expired.
Reading also fails if the server restarted or was replaced by a replica in the meantime, because the
cells then have another order. Copies that are not removed expire after EXPIRES_S.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from redis.exceptions import NoPermissionError, ResponseError

from shared.store.client import StoreUnavailable, store_errors
from shared.store.read_cells import Snapshot, snapshot_of
from shared.store.script import Script

NAME: Final = "copy_cells"
# A reader that needs more time than this is treated as stuck.
EXPIRES_S: Final = 600
_PIECE: Final = 5_000


class CopyCells:
    """The script on one Redis client. `state` is the key of the script, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str, closing: redis.Redis | None = None) -> None:
        """`closing` is a client with a short time-out, which removes copies."""
        self._client = client
        self._closing = closing or client
        self._script = Script(client, NAME)
        self._state = state

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Iterator[tuple[str, str, int]]]]:
        """Yield the state without cells, and the cells of these months. Raises StoreUnavailable."""
        name = secrets.token_hex(8)
        whole, state, copied, server = self._script.run([self._state], [name, EXPIRES_S, *months])
        copies = {month: f"{self._state}:copy:{name}:{month}" for month in sorted(copied)}
        try:
            yield snapshot_of(whole, state, []), self._cells(copies, server)
        finally:
            if copies:
                with store_errors():
                    self._closing.unlink(*copies.values())

    def _cells(self, copies: dict[str, str], server: str) -> Iterator[tuple[str, str, int]]:
        for month, copy in copies.items():
            seen = 0
            with store_errors():
                expected = int(self._client.hlen(copy))
                for cell, count in self._client.hscan_iter(copy, count=_PIECE):
                    seen += 1
                    if cell != "generation":
                        yield month, cell, int(count)
            if self._server() != server:
                raise _lost("another server has the copy")
            if seen != expected or not expected:
                # The copy was evicted or expired, so cells are missing.
                raise _lost(f"{seen} of {expected} cells of a copy were there")

    def _server(self) -> str:
        """Return the run_id of the server, or "" if the Redis user has no right to read it."""
        with store_errors():
            try:
                return str(self._client.info("server").get("run_id", ""))
            except (NoPermissionError, ResponseError):
                return ""


def _lost(reason: str) -> StoreUnavailable:
    return StoreUnavailable(f"Redis: the cells cannot be read from a copy: {reason}")
