"""Bytes as they arrive, taken out as lines or as blocks. No line is looked at twice.

Owns: finding line ends and the end of content across the borders of reads. Does not own: what
a line means. A line ends with CRLF only (RFC 5321, 2.3.8): a LF without its CR is reported as
such and never ends a line. Bounds are the caller's, since they differ between replies,
commands and content; what is held is `len()`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

END_OF_CONTENT: Final = b"\r\n.\r\n"
# Found in half the time that bytearray.find takes for it.
_END: Final = re.compile(re.escape(END_OF_CONTENT))
_CR: Final = 0x0D
_HANDSHAKE: Final = b"\x16"  # the type of TLS's first record (RFC 8446, 5.1)


class NoLine(Enum):
    """Why there is no line to take."""

    INCOMPLETE = "no line end yet"
    BARE_LF = "a line feed without a carriage return"
    TOO_LONG = "longer than the limit"
    TLS = "the beginning of TLS"


class Buffer:
    """A byte buffer that remembers how far it has been searched."""

    __slots__ = ("_bytes", "_searched")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._searched = 0

    def __len__(self) -> int:
        return len(self._bytes)

    def peek(self, size: int) -> bytes:
        """The first bytes held, left where they are."""
        return bytes(self._bytes[:size])

    def add(self, data: bytes) -> None:
        """Append what was read."""
        self._bytes += data

    def clear(self) -> None:
        """Forget everything held."""
        self._bytes.clear()
        self._searched = 0

    def take_line(self, max_bytes: int) -> bytes | NoLine:
        """The next line without its CRLF. `max_bytes` counts the CRLF.

        TOO_LONG does not wait for the line's end, and is found however the line was cut.
        """
        if self._bytes.startswith(_HANDSHAKE):
            return NoLine.TLS
        end = self._bytes.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._bytes)
            return NoLine.INCOMPLETE if len(self._bytes) < max_bytes else NoLine.TOO_LONG
        if end + 1 > max_bytes:  # first, so that it does not matter how the line was cut
            return NoLine.TOO_LONG
        if end == 0 or self._bytes[end - 1] != _CR:
            return NoLine.BARE_LF
        return self._take(end - 1, end + 1)

    def take_content(self) -> bytes | None:
        """The bytes before the line that holds a dot alone; None while that has not come.

        What is returned ends with CRLF or is empty; it is still dot-stuffed. The buffer must
        begin where the content begins.
        """
        # An empty message: the dot's line is the first one.
        if self._searched == 0 and self._bytes.startswith(b".\r\n"):
            return self._take(0, 3)
        found = _END.search(self._bytes, self._searched)
        if found is None:
            tail_at = len(self._bytes) - len(END_OF_CONTENT) + 1
            self._searched = max(self._searched, tail_at)
            return None
        return self._take(found.start() + 2, found.end())

    def drop_content(self) -> bytes:
        """Take away what cannot be part of the end mark; b"" where nothing is."""
        # One byte more than the mark needs stays, so that `_searched` can say that this is not
        # the beginning: a dot at the front is not on a line of its own.
        length = len(self._bytes) - len(END_OF_CONTENT)
        if length <= 0:
            return b""
        dropped = self._take(length, length)
        self._searched = 1
        return dropped

    def _take(self, length: int, consumed: int) -> bytes:
        with memoryview(self._bytes) as view:
            taken = bytes(view[:length])
        del self._bytes[:consumed]
        self._searched = 0
        return taken
