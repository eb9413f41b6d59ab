"""read_pieces.lua: reads months of billing cells, or their changes, in pieces.

All pieces show the cells at one moment. Reading a million cells at once would block the server for
more than a second. Copying the cells would also block the server. Here each command takes
milliseconds, so other processes that count or read are not delayed.

ReadChanges follows a month: the first read returns all cells, and each further read returns only
the changes. The reader of the month stays registered between two reads. While a reader is
registered, apply_cells.lua keeps the former value of each cell that changes, and the change is the
present value minus the former value. The cost of a read depends on the number of changes, not on
the size of the month.

Every failure raises StoreUnavailable. A process of an earlier version does not keep former values
for readers. If such a process counts during a read, the last piece of a month fails with
CellsChanged, a kind of StoreUnavailable. After that, the process that reads uses copies
(copy_cells.py) for its next reads (as many as COPIED or COPIED_WHEN_FOLLOWING). Copies block the
server for about half a second per million cells. So a second read succeeds (as_copy_if_changed). If
the server restarts or is replaced by a replica, the order of the cells is different, and the next
piece fails. The changes of a followed month become unknown if cells were lost or restored, if a
process of an earlier version counts, or after EXPIRES_S. Then CellsChanged is raised, too. After
every failed read, the next read returns the whole month.

Every open reader makes counting more expensive, because the former values take memory. A reader
that is not closed (after a lost answer, or because its process was killed) expires EXPIRES_S after
its last piece. So a reader that pauses for longer fails. While MAX_READERS are open, other
processes read copies.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final, TypeVar

import redis
from msgspec import Struct

from shared.store.client import StoreUnavailable
from shared.store.copy_cells import CopyCells
from shared.store.read_cells import Counts, Snapshot, snapshot_of
from shared.store.script import Script

NAME: Final = "read_pieces"
# A reader that needs more time than this for one piece is treated as stuck.
EXPIRES_S: Final = 600
# The limit is larger than the number of processes that read at the same time, because readers of
# killed processes remain registered until they expire.
MAX_READERS: Final = 16
# The number of reads that use copies after CellsChanged. The number is small for ReadChanges, which
# reads often, because a copy is expensive.
COPIED: Final = 100
COPIED_WHEN_FOLLOWING: Final = 10
_PIECE: Final = 5_000
_LOST: Final = "lost"
_CHANGED: Final = "changed"
_TOO_MANY: Final = -1

T = TypeVar("T")


class CellsChanged(StoreUnavailable):
    """The pieces show different moments, so this process uses copies for its next reads."""


def as_copy_if_changed(read: Callable[[], T]) -> T:
    """Call `read`. If it raises CellsChanged, call it again; the second call reads copies."""
    try:
        return read()
    except CellsChanged:
        return read()


class ReadPieces:
    """The script on one Redis client. `state` is the key of the script, with a {hash tag}."""

    def __init__(
        self,
        client: redis.Redis,
        state: str,
        copied: int = COPIED,
        *,
        closing: redis.Redis | None = None,
    ) -> None:
        """`copied` is the number of reads that use copies after CellsChanged was raised.

        `closing` is a client with a short time-out, which closes readers.
        """
        self._script = Script(client, NAME)
        self._closing = Script(closing or client, NAME)
        self._state = state
        self._copies = CopyCells(client, state, closing)
        self._copied_after = copied
        self._copied = 0  # the number of further reads that must use copies

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        """Yield the state without cells, and the cells of these months. Raises StoreUnavailable."""
        with ExitStack() as closing:
            yield self._begin(closing, months)

    def _begin(self, closing: ExitStack, months: tuple[str, ...]) -> tuple[Snapshot, Counts]:
        if self.is_possible():
            name = secrets.token_hex(8)
            # The reader may be registered even if the answer is lost.
            closing.callback(self.close, name)
            found = self.open(name, months)
            if found is not None:
                state, numbers = found
                return state, self.cells(name, numbers)
        return closing.enter_context(self._copies.reading(*months))

    def is_possible(self) -> bool:
        """Return True if the next read uses pieces. Otherwise, count one read of copies."""
        if self._copied > 0:
            self._copied -= 1
            return False
        return True

    def open(
        self, name: str, months: Sequence[str], ended: str = ""
    ) -> tuple[Snapshot, dict[str, int]] | None:
        """Register a reader; return the state without cells, and the number of cells by month.

        The result is None if there are too many readers. `ended` is the name of a reader that ends
        at the moment at which the new reader begins.
        """
        whole, *rest = self._run("open", name, EXPIRES_S, MAX_READERS, ended, *months)
        if whole == _TOO_MANY:
            return None
        state, sizes = rest
        numbers = dict(zip(sizes[::2], map(int, sizes[1::2]), strict=True))
        return snapshot_of(whole, state, []), numbers

    def close(self, *names: str) -> None:
        """Close readers. If the server is unavailable, nothing is raised and the readers expire.

        After the first failure, no further command is sent.
        """
        with suppress(StoreUnavailable):
            for name in names:
                self._closing.run([self._state], ["close", name])

    def cells(self, name: str, numbers: dict[str, int]) -> Counts:
        """Yield the cells of these months as they were when the reader was registered."""
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
                # The server returned cells twice, which may happen when it moves cells in memory.
                raise self._failed(month, f"{seen} of {expected} were read")

    def changes(self, name: str, month: str, ended: str) -> Counts:
        """Yield the change of each cell that changed between the registrations of two readers.

        Raises CellsChanged if the changes are not known.
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


class Moment(Struct, frozen=True):
    """The state without cells, and the counts of the month, both at one moment.

    `are_changes` is True if the counts are differences from the counts of the last read.
    """

    snapshot: Snapshot
    are_changes: bool
    counts: Counts


class ReadChanges:
    """Follows one month at a time; not thread-safe. `state` is the key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str, closing: redis.Redis | None = None) -> None:
        """`closing` is a client with a short time-out, which closes readers."""
        self._pieces = ReadPieces(client, state, COPIED_WHEN_FOLLOWING, closing=closing)
        self._copies = CopyCells(client, state, closing)
        self._month = self._reader = ""

    @contextmanager
    def reading(self, month: str) -> Iterator[Moment]:
        """Yield the counts of the month at one moment. Raises StoreUnavailable.

        If the with block fails, the next read returns the whole month.
        """
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
        """Stop following."""
        self._close_all_but("", self._reader)
        self._reader = ""

    def _close_all_but(self, kept: str, *readers: str) -> None:
        self._pieces.close(*(each for each in readers if each and each != kept))
