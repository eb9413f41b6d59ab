"""Limits how many files are made at a time, and prevents slow readers from using all slots.

Every file holds a slot until its last piece is read, until it fails, or until its reader
disconnects. One key may use at most half of the slots. If all slots are taken, a file whose reader
still reads less than MIN_BYTES_S after GRACE_S loses its slot to the next file, and its transfer is
aborted. So keys that read slowly, or not at all, do not block other keys. The time for making a
piece does not count as the reader's time.
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
        """Return for how many seconds the reader could have asked for a next piece but did not."""
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
        # The lock is reentrant, because the garbage collector may end a file in a thread that holds
        # the lock.
        self._lock = threading.RLock()
        self._taken: list[Slot] = []

    def stream(self, pieces: Iterator[bytes], owner: str = "") -> Iterator[bytes]:
        """Return these pieces, which hold a slot until they end. `owner`: the id of the key. Raises
        NoRoom."""
        with self._lock:
            if sum(each.owner == owner for each in self._taken) >= max(1, self._most // 2):
                raise NoRoom
            if len(self._taken) >= self._most:
                self._displace()
            slot = Slot(owner, self._now)
            self._taken.append(slot)
        return _Pieces(pieces, slot, self._end)

    def _displace(self) -> None:
        """Take the slot of the slowest reader. Raises NoRoom if all are fast enough."""
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
    """Releases the slot at the end, on an error, or when the reader disconnects."""

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
            # The error makes the server break the connection, so that a cut file does not look
            # complete.
            raise RuntimeError("the file was read too slowly, and others were waiting")
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
