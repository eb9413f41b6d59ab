"""read_pieces.lua: reads months of billing cells in pieces, as of one moment.

Reading a million cells at once blocks the server for more than a second, and so does copying them.
Here each command takes milliseconds, so nobody waits who counts or asks at the same time.

On failure: StoreUnavailable. A process of an earlier version keeps nothing for readers; if one
counts meanwhile, the last piece of a month fails with CellsChanged, and the next COPIED readings of
this process are of copies (copy_cells.py), which block the server for about half a second per
million cells. So reading once more succeeds (as_copy_if_changed). If the server restarts or a
replica takes over, the order of the cells is another one, and the next piece fails.

Every open reader makes counting dearer. One that is not closed (a lost answer, a process that died)
ends EXPIRES_S after its last piece; a reader that is paused for longer fails. While MAX_READERS are
open, others read copies.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, TypeVar

import redis

from shared.store.client import StoreUnavailable
from shared.store.copy_cells import CopyCells
from shared.store.read_cells import Counts, Snapshot, snapshot_of
from shared.store.script import Script

NAME: Final = "read_pieces"
# A reader that takes longer than this for one piece is stuck.
EXPIRES_S: Final = 600
# Processes that read at a time are fewer; those that died count until they expire.
MAX_READERS: Final = 16
COPIED: Final = 100
_PIECE: Final = 5_000
_LOST: Final = "lost"
_CHANGED: Final = "changed"
_TOO_MANY: Final = -1

T = TypeVar("T")


class CellsChanged(StoreUnavailable):
    """These pieces are not of one moment; the next readings of this process are of copies."""


def as_copy_if_changed(read: Callable[[], T]) -> T:
    """Read; once more at once, which is then of copies, if the pieces were not of one moment."""
    try:
        return read()
    except CellsChanged:
        return read()


class ReadPieces:
    """The script on one client; `state` is its key, with a {hash tag}."""

    def __init__(
        self,
        client: redis.Redis,
        state: str,
        copied: int = COPIED,
        *,
        closing: redis.Redis | None = None,
    ) -> None:
        """`copied`: how many readings are of copies after one that failed. `closing`: a client that
        waits for a short time only, for what may fail."""
        self._script = Script(client, NAME)
        self._closing = Script(closing or client, NAME)
        self._state = state
        self._copies = CopyCells(client, state, closing)
        self._copied_after = copied
        self._copied = 0  # how many readings are still of copies

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        """The state without cells, and the cells of these months. Raises StoreUnavailable."""
        with ExitStack() as closing:
            yield self._begin(closing, months)

    def _begin(self, closing: ExitStack, months: tuple[str, ...]) -> tuple[Snapshot, Counts]:
        if self.is_possible():
            name = secrets.token_hex(8)
            # Also after an answer that was lost.
            closing.callback(self.close, name)
            found = self.open(name, months)
            if found is not None:
                state, numbers = found
                return state, self.cells(name, numbers)
        return closing.enter_context(self._copies.reading(*months))

    def is_possible(self) -> bool:
        """Whether to read in pieces; False beside a process of an earlier version."""
        if self._copied > 0:
            self._copied -= 1
            return False
        return True

    def open(
        self, name: str, months: Sequence[str], ended: str = ""
    ) -> tuple[Snapshot, dict[str, int]] | None:
        """Register a reader; return the moment, and the number of cells of these months.

        None if there are too many readers. `ended`: a reading for which nothing more is kept.
        """
        whole, *rest = self._run("open", name, EXPIRES_S, MAX_READERS, ended, *months)
        if whole == _TOO_MANY:
            return None
        state, sizes = rest
        numbers = dict(zip(sizes[::2], map(int, sizes[1::2]), strict=True))
        return snapshot_of(whole, state, []), numbers

    def close(self, *names: str) -> None:
        """Forget readers. Raises nothing: they end by themselves if the server cannot be asked,
        which is then asked for no other one."""
        with suppress(StoreUnavailable):
            for name in names:
                self._closing.run([self._state], ["close", name])

    def cells(self, name: str, numbers: dict[str, int]) -> Counts:
        """The cells of these months, at the moment of a reader."""
        for month, expected in sorted(numbers.items()):
            seen, cursor = 0, ""
            while cursor != "0":
                cursor, *rest = self._run("piece", name, month, cursor or "0", _PIECE, EXPIRES_S)
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

    def changes(self, name: str, month: str, ended: str) -> Counts:
        """By how much each cell changed between the moments of two readers, if it did.

        Raises CellsChanged if that is not known.
        """
        seen, cursor = 0, ""
        while cursor != "0":
            arguments = (name, month, cursor or "0", _PIECE, EXPIRES_S, ended)
            cursor, *rest = self._run("changes", *arguments)
            if cursor == _LOST:
                raise CellsChanged(f"Redis: what changed in {month} is not known any more")
            if cursor == _CHANGED:
                raise self._failed(month, cursor)
            flat, fields, expected = rest
            seen += fields
            for cell, before, now in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
                yield month, cell, int(now or 0) - int(before or 0)
        if seen != expected:
            raise self._failed(month, f"{seen} of {expected} changes were read")

    def _failed(self, month: str, reason: str) -> StoreUnavailable:
        text = f"Redis: the cells of {month} cannot be read in pieces: {reason}"
        if reason == _LOST:
            return StoreUnavailable(text)
        self._copied = self._copied_after
        return CellsChanged(text)

    def _run(self, *arguments: str | int) -> Any:
        return self._script.run([self._state], arguments)
