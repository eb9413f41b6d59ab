"""Defines a buffer of received bytes. Lines and blocks of bytes are taken from it.

The buffer finds the ends of lines and the end of content, even if such an end is split between two
reads. No byte is searched twice. The buffer does not know the meaning of a line. A line ends only
with CRLF (RFC 5321, 2.3.8). A LF without CR is reported, and it ends a line only if the caller
allows this. The caller sets the size limits, because replies, commands and content have different
limits. `len()` is the number of bytes in the buffer.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from shared.smtp.content import LINE_DOT

END_OF_CONTENT: Final = b"\r\n.\r\n"
# In 10 KB of data, a search for this pattern takes half the time of find().
_END: Final = re.compile(re.escape(END_OF_CONTENT))
_CR: Final = 0x0D
_DOT: Final = 0x2E
# The first byte of a TLS connection, which is the type of a record (RFC 8446, 5.1).
_HANDSHAKE: Final = 0x16


class NoLine(Enum):
    """The reason why no line can be taken."""

    INCOMPLETE = "no line end yet"
    BARE_LF = "a line feed without a carriage return"
    TOO_LONG = "longer than the limit"
    TLS = "the beginning of TLS"


class Buffer:
    """A buffer of bytes. It stores the index up to which the bytes have been searched.

    If `may_be_stuffed` is False, no line of the last taken content begins with a dot.
    """

    __slots__ = ("_bytes", "_has_dots", "_searched", "_start", "may_be_stuffed")

    def __init__(self) -> None:
        # Usually the buffer contains the data of only one read. This data is not copied, and lines
        # are slices of it. If there are several reads, their data is joined.
        self._bytes: bytes | bytearray = b""
        # The bytes before this index have been taken. The index is 0 or less than the length.
        self._start = 0
        self._searched = 0
        self._has_dots = False  # True if the searched part contains a stuffed dot.
        self.may_be_stuffed = False

    def __len__(self) -> int:
        return len(self._bytes) - self._start

    def peek(self, size: int) -> bytes:
        """Return the first bytes in the buffer without taking them."""
        return bytes(self._bytes[self._start : self._start + size])

    def add(self, data: bytes) -> int:
        """Append received data. Return the number of bytes in the buffer."""
        held = self._bytes
        if not held:
            self._bytes = data
            return len(data)
        if isinstance(held, bytes):
            self._bytes = held = bytearray(held[self._start :])
            self._searched -= self._start
            self._start = 0
        held += data
        return len(held)

    def clear(self) -> None:
        self._bytes, self._start, self._searched = b"", 0, 0
        self._has_dots = False

    def take_line(self, max_bytes: int, *, ends_at_bare_lf: bool = False) -> bytes | NoLine:
        """Take the next line without its CRLF. `max_bytes` includes the CRLF.

        With `ends_at_bare_lf`, which is only for replies (reply.py), a LF without CR ends the line,
        too. TOO_LONG is returned even before the end of the line has arrived. The result does not
        depend on the way in which the line is split between reads.
        """
        data, start = self._bytes, self._start
        if not data:
            return NoLine.INCOMPLETE
        if data[start] == _HANDSHAKE:
            return NoLine.TLS
        end = data.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(data)
            return NoLine.INCOMPLETE if len(data) - start < max_bytes else NoLine.TOO_LONG
        # Check the length first, so that the result does not depend on the way in which reads split
        # lines.
        if end + 1 - start > max_bytes:
            return NoLine.TOO_LONG
        if end == start or data[end - 1] != _CR:
            return self._take(end, end + 1) if ends_at_bare_lf else NoLine.BARE_LF
        return self._take(end - 1, end + 1)

    def take_loose_line(self, max_bytes: int) -> bytes | None:
        """Take the next line without its LF and the CR before it. Return None if no line end has
        arrived.

        A longer line is cut to `max_bytes`. The buffer grows until a line end arrives, so the
        caller must limit the size of the buffer.
        """
        data = self._bytes
        end = data.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(data)
            return None
        return self._take(end, end + 1).removesuffix(b"\r")[:max_bytes]

    def take_content(self) -> bytes | None:
        """Take the bytes before the line with a single dot. Return None until this line has
        arrived.

        The result ends with CRLF or is empty, and is still dot-stuffed. The buffer must begin where
        the content begins.
        """
        data, start, searched = self._bytes, self._start, self._searched
        # A message is empty if its first line is the line with the single dot.
        if searched == start and data.startswith(b".\r\n", start):
            self.may_be_stuffed = False
            return self._take(start, start + 3)
        found = None
        if not self._has_dots:
            # Most mail has no stuffed dots, so the first line that begins with a dot is the end.
            found = LINE_DOT.search(data, searched)
            self._has_dots = found is not None and not data.startswith(b"\r\n", found.end())
        if self._has_dots:
            found = _END.search(data, searched)
        if found is None:
            self._searched = max(searched, len(data) - len(END_OF_CONTENT) + 1)
            return None
        self.may_be_stuffed = self._has_dots or data[start] == _DOT
        return self._take(found.start() + 2, found.start() + len(END_OF_CONTENT))

    def drop_content(self) -> bytes:
        """Remove and return the bytes that cannot be part of the end mark. Return b"" if there are
        none."""
        # Keep one byte more than the end mark needs, so that `_searched` differs from `_start`. The
        # difference shows that the buffer does not begin at the beginning of a line. So a dot at
        # the beginning of the buffer is not the only character of its line.
        length = len(self) - len(END_OF_CONTENT)
        if length <= 0:
            return b""
        dropped = self._take(self._start + length, self._start + length)
        self._searched = self._start + 1
        return dropped

    def _take(self, end: int, next_start: int) -> bytes:
        """Take the bytes before `end`. Keep the bytes from `next_start` on."""
        data, start = self._bytes, self._start
        self._has_dots = False
        if isinstance(data, bytes):
            taken = data[start:end]
            if 2 * next_start >= len(data):
                # Copy the few remaining bytes, so that they do not keep a large read in memory.
                self._bytes, next_start = data[next_start:], 0
        else:
            with memoryview(data) as view:
                taken = bytes(view[start:end])
            del data[:next_start]
            next_start = 0
        self._start = self._searched = next_start
        return taken
