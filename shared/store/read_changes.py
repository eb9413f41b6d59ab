"""Follows a month of billing cells: all of them at first, then what has changed since.

Uses read_pieces.lua: a reader stays registered between two times, so the script that counts keeps
what each cell was before it changed; at the next moment that, and what the cell is now, is the
change. So a time costs as much as changed, not as much as the month has.

On failure: StoreUnavailable. If what changed is not known any more (cells were lost or restored, a
process of an earlier version counts, EXPIRES_S have passed) it is CellsChanged, and the next time
has the whole month; so it has after every time that did not end well. A process that dies leaves
its reader, which ends EXPIRES_S later and until then costs the memory of the cells that change.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis
from msgspec import Struct

from shared.store.copy_cells import CopyCells
from shared.store.read_cells import Counts, Snapshot
from shared.store.read_pieces import ReadPieces

# How many readings copy all cells after CellsChanged. Few: a follower reads often, and a copy
# costs much.
COPIED: Final = 10


class Moment(Struct, frozen=True):
    """The state without cells, and the counts of the month; or how they differ from those of the
    last time, if `are_changes`."""

    snapshot: Snapshot
    are_changes: bool
    counts: Counts


class ReadChanges:
    """Follows one month at a time. `state` is the key, with a {hash tag}. For one thread."""

    def __init__(self, client: redis.Redis, state: str, closing: redis.Redis | None = None) -> None:
        """`closing`: a client that waits for a short time only, to close readers."""
        self._pieces = ReadPieces(client, state, COPIED, closing=closing)
        self._copies = CopyCells(client, state, closing)
        self._month = self._reader = ""

    @contextmanager
    def reading(self, month: str) -> Iterator[Moment]:
        """The month at one moment. Changes count only if the block ends well; if it does not, the
        next time has everything. Raises StoreUnavailable."""
        last, after = self._reader, secrets.token_hex(8)
        before = last if month == self._month else ""
        self._reader, self._month = "", month
        try:
            if not self._pieces.is_possible():
                found = None
            else:
                found = self._pieces.open(after, [month], before)
            if found is None:
                with self._copies.reading(month) as (snapshot, counts):
                    yield Moment(snapshot, False, counts)
                return
            snapshot, numbers = found
            if before and numbers:
                yield Moment(snapshot, True, self._pieces.changes(after, month, before))
            else:
                yield Moment(snapshot, False, self._pieces.cells(after, numbers))
            self._reader = after if numbers else ""
        finally:
            self._close_all_but(self._reader, last, after)

    def close(self) -> None:
        """Follow no longer."""
        self._close_all_but("", self._reader)
        self._reader = ""

    def _close_all_but(self, kept: str, *readers: str) -> None:
        self._pieces.close(*(each for each in readers if each and each != kept))
