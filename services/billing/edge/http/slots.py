"""Limits the number of exported files that are made at a time, and prevents slow readers from using
all slots.

A file uses a slot until the last piece of the file is read, until an error occurs, or until the
reader disconnects. One key may use at most half of the slots. If all slots are in use when a new
file is requested, the file of the slowest reader may lose its slot. The transfer of this file is
then aborted. The file loses its slot only if the reader has had at least GRACE_S to read, and has
read less than MIN_BYTES_S bytes per second. So a key whose reader is slow, or does not read at all,
does not block other keys. The time during which this process makes a piece is not part of the
reader's time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

from shared.runtime.clock import monotonic

MAX_EXPORTS: Final = 4
GRACE_S: Final = 10.0
MIN_BYTES_S: Final = 64 * 1024


class NoRoom(Exception):
    """No further export may start, because the maximum number of exports is running."""


class Slot:
    """A file that is being made, and the pace of its reader."""

    def __init__(self, owner: str, now: Callable[[], float]) -> None:
        self.owner = owner
        self.sent = 0  # bytes
        self.is_displaced = False
        self._now = now
        self._waited_s = 0.0
        self._since: float | None = now()  # None while a piece is made

    def waited_s(self) -> float:
        """Return for how many seconds the reader could have asked for the next piece but did
        not."""
        since = self._since
        return self._waited_s + (self._now() - since if since is not None else 0.0)

    def asked(self) -> None:
        """Record that the reader asks for a piece."""
        self._waited_s, self._since = self.waited_s(), None

    def gave(self, size: int) -> None:
        """Record that the reader got a piece."""
        self.sent += size
        self._since = self._now()


class Slots:
    """The slots of one process. Thread-safe."""

    def __init__(self, most: int = MAX_EXPORTS, now: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._now = now
        # The lock must be reentrant, because the garbage collector may delete a _Pieces in a thread
        # that already holds the lock.
        self._lock = threading.RLock()
        self._taken: list[Slot] = []

    def stream(self, pieces: Iterator[bytes], owner: str = "") -> Iterator[bytes]:
        """Return an iterator over these pieces. The iterator uses a slot until it ends. `owner` is
        the id of the key. Raises NoRoom."""
        with self._lock:
            if sum(each.owner == owner for each in self._taken) >= max(1, self._most // 2):
                raise NoRoom
            if len(self._taken) >= self._most:
                self._displace()
            slot = Slot(owner, self._now)
            self._taken.append(slot)
        return _Pieces(pieces, slot, self._end)

    def _displace(self) -> None:
        """Take the slot from the slowest reader. Raises NoRoom if no reader is too slow."""
        slow = [each for each in self._taken if each.waited_s() >= GRACE_S]
        slow = [each for each in slow if each.sent < MIN_BYTES_S * each.waited_s()]
        if not slow:
            raise NoRoom
        found = min(slow, key=lambda each: each.sent / each.waited_s())
        found.is_displaced = True
        self._taken.remove(found)

    def _end(self, slot: Slot) -> None:
        with self._lock:
            if slot in self._taken:
                self._taken.remove(slot)


class _Pieces:
    """An iterator over the pieces of a file. The iterator releases its slot after the last piece,
    on an error, or when the reader disconnects."""

    def __init__(self, pieces: Iterator[bytes], slot: Slot, ended: Callable[[Slot], None]) -> None:
        self._pieces = pieces
        self._slot = slot
        self._ended = ended

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> bytes:
        slot = self._slot
        slot.asked()
        if slot.is_displaced:
            # This error makes the server abort the connection, so that the reader knows that the
            # file is not complete.
            raise RuntimeError(
                "the client read the file too slowly while other requests were waiting"
            )
        try:
            piece = next(self._pieces)
        except ValueError as error:
            # Litestar treats a ValueError as the end of the stream.
            self._ended(slot)
            raise RuntimeError("a file could not be made") from error
        except BaseException:
            self._ended(slot)
            raise
        slot.gave(len(piece))
        return piece

    def __del__(self) -> None:
        self._ended(self._slot)
