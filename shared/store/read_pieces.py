"""read_pieces.lua: reads months of billing cells in pieces, as of one moment.

Reading a million cells at once blocks the server for more than a second, and so does copying them.
Here each command takes milliseconds, so nobody waits who counts or asks at the same time.

On failure: StoreUnavailable. A process of an earlier version keeps nothing for readers; if one
counts meanwhile, the last piece of a month fails, and the next COPIED readings of this process are
of copies (copy_cells.py), which block the server for about half a second per million cells. A
reading that is not closed ends after EXPIRES_S.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis

from shared.store.client import StoreUnavailable
from shared.store.copy_cells import CopyCells
from shared.store.read_cells import Counts, Snapshot, snapshot_of
from shared.store.script import Script

NAME: Final = "read_pieces"
# A reader that takes longer than this is stuck.
EXPIRES_S: Final = 600
COPIED: Final = 100
_PIECE: Final = 5_000
_LOST: Final = "lost"
_CHANGED: Final = "changed"


class ReadPieces:
    """The script on one client; `state` is its key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._state = state
        self._copies = CopyCells(client, state)
        self._copied = 0  # how many readings are still of copies

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        """The state without cells, and the cells of these months. Raises StoreUnavailable."""
        if self._copied:
            self._copied -= 1
            with self._copies.reading(*months) as found:
                yield found
            return
        name = secrets.token_hex(8)
        whole, state, sizes = self._run("open", name, EXPIRES_S, *months)
        numbers = dict(zip(sizes[::2], map(int, sizes[1::2]), strict=True))
        try:
            yield snapshot_of(whole, state, []), self._cells(name, numbers)
        finally:
            if numbers:
                self._run("close", name)

    def _cells(self, name: str, numbers: dict[str, int]) -> Counts:
        for month, expected in sorted(numbers.items()):
            seen, cursor = 0, ""
            while cursor != "0":
                cursor, *rest = self._run("piece", name, month, cursor or "0", _PIECE)
                if cursor in (_LOST, _CHANGED):
                    raise self._failed(month, cursor)
                (flat,) = rest
                for cell, count in zip(flat[::2], flat[1::2], strict=True):
                    if not count:
                        continue
                    seen += 1
                    if cell != "generation":
                        yield month, cell, int(count)
            if seen != expected:
                # The server has returned cells twice, as it may when it moves them.
                raise self._failed(month, f"{seen} of {expected} were read")

    def _failed(self, month: str, reason: str) -> StoreUnavailable:
        self._copied = COPIED if reason != _LOST else 0
        return StoreUnavailable(f"Redis: the cells of {month} cannot be read in pieces: {reason}")

    def _run(self, *arguments: str | int) -> Any:
        return self._script.run([self._state], arguments)
