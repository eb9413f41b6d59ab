"""Encodes replies, and parses replies with limits (RFC 5321, 4.2; RFC 2034; RFC 3463).

This module owns the form of a reply. The assignment of replies to commands is in client/session.py,
and the services decide what a reply means for a message. The text of a reply is cleaned when the
reply is parsed (remote_text.py).

A malformed reply raises RemoteProtocolError, except for the reply to the content of a message.
After the content has been sent, a malformed reply with a clear code is better than an unknown
result. So a parser with `is_lenient` accepts such a reply. Before the code, this parser skips empty
lines, blanks, NUL, a byte order mark and 1xx (which announces another reply), because some servers
send them. It also accepts a code without a blank after it. Other text before the code is an error.

A line of a reply may end with a bare LF. RFC 5321, 2.3.8 forbids this, but some servers do it. A
client can accept a bare LF safely, but a server cannot. Replies contain no text of third parties,
so nobody can hide a reply in another reply. An additional reply is unexpected, which ends the
session (client/session.py).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from shared.smtp.buffer import Buffer, NoLine
from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.remote_text import clean_text

# RFC 5321 allows 512 bytes, but real servers send longer lines, mainly policy texts with addresses.
# A reply is read to its end, because its last code is used. The bytes of a line after this length
# are dropped, and lines after MAX_REPLY_LINES are also dropped.
MAX_LINE_BYTES: Final = 2_048
MAX_REPLY_LINES: Final = 128
# A longer reply is an error, because it might never end.
MAX_REPLY_BYTES: Final = 1_048_576

# A read that consists of one-line replies is parsed in one step. The result is cached, because
# servers repeat a few replies, and often send the replies to MAIL, RCPT and DATA together.
MAX_PLAIN_BYTES: Final = 512
_KNOWN_READS: Final = 512

_PLAIN: Final = re.compile(rb"(?:[2-5][0-9]{2} [ -~]*\r\n)+")
# Some servers send a tab instead of the blank after the code.
_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([ \t-])(.*))?", re.DOTALL)
# Matches the first line of a lenient reply. The code ends at the end of a word, or before "OK". As
# in `_LINE`, only one blank separates code and text. Further blanks belong to the text.
_CLEAR_CODE: Final = re.compile(
    rb"([1-5][0-9]{2})(?:\b|(?=ok\b))(?:(-)|[ \t]|[:.,;][ \t:.,;]*)?(.*)",
    re.DOTALL | re.IGNORECASE,
)
_BEFORE_CODE: Final = b"\0\t\r \xef\xbb\xbf"
_PRELIMINARY: Final = b"1"
_ENHANCED: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?= |\n|$)")
_FIRST_DIGIT: Final = 100
_LINE_BREAKS: Final = re.compile(r"[\r\n\0]")


class Reply(Struct, frozen=True):
    """A reply of a server. `text` contains its lines, joined by LF, without the enhanced status."""

    code: int
    enhanced: str = ""
    text: str = ""

    def __str__(self) -> str:
        first = f"{self.code} {self.enhanced}" if self.enhanced else str(self.code)
        return f"{first} {self.text}".rstrip().replace("\n", " / ")

    @property
    def is_positive(self) -> bool:
        """2xx: success."""
        return 200 <= self.code < 300

    @property
    def is_transient(self) -> bool:
        """4xx: temporary failure."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5xx: permanent failure."""
        return self.code >= 500


def make_reply(code: int, text: str) -> Reply:
    """Build a reply from a code and the received text. Clean the text, and separate the status from
    it.

    The enhanced status is used only if its class is the first digit of the code (RFC 2034, 4).
    Servers repeat the status on every line, so the status is removed from each line.
    """
    text = clean_text(text)
    found = _ENHANCED.match(text)
    if found is None or int(text[0]) != code // _FIRST_DIGIT:
        return Reply(code, "", text)
    enhanced = found[1]
    rest = text[len(enhanced) + 1 :]
    if "\n" in rest:
        rest = rest.replace(f"\n{enhanced} ", "\n")
    return Reply(code, enhanced, rest)


def encode_reply(reply: Reply) -> bytes:
    """Encode a reply, with one line for each line of its text. Raises LocalProtocolError."""
    status = f"{reply.enhanced} " if reply.enhanced else ""
    if reply.text.isprintable():
        return f"{reply.code} {status}{reply.text}\r\n".encode()
    lines = reply.text.split("\n")
    if any(_LINE_BREAKS.search(line) for line in lines):
        raise LocalProtocolError("a line of the text of a reply contains a line break")
    *first, last = (f"{status}{line}" for line in lines)
    whole = [f"{reply.code}-{line}\r\n" for line in first]
    return "".join([*whole, f"{reply.code} {last}\r\n"]).encode()


class Outgoing:
    """Collects replies, which are then written together."""

    __slots__ = ("_encoded",)

    def __init__(self) -> None:
        self._encoded: list[bytes] = []

    def put(self, reply: Reply) -> None:
        """Append a reply. Raises LocalProtocolError."""
        self._encoded.append(encode_reply(reply))

    def take(self) -> bytes:
        """Take the bytes of all replies. Return b"" if there are none."""
        encoded = self._encoded
        if not encoded:
            return b""
        self._encoded = []
        return encoded[0] if len(encoded) == 1 else b"".join(encoded)


class ReplyParser:
    """Parses received bytes into replies."""

    __slots__ = ("_buffer", "_bytes", "_code", "_is_buffering", "_lines", "_ready", "is_lenient")

    def __init__(self) -> None:
        self._buffer = Buffer()
        # Replies that were parsed in one step, in reverse order. They precede the replies in the
        # buffer.
        self._ready: list[Reply] = []
        # False if the buffer and the lines are empty.
        self._is_buffering = False
        self._code = 0
        self._lines: list[str] = []
        self._bytes = 0
        # True if the next reply answers the content of a message.
        self.is_lenient = False

    @property
    def is_empty(self) -> bool:
        """Return True if the parser has no unread bytes and no replies."""
        if self._ready:
            return False
        return not (self._is_buffering and (self._lines or len(self._buffer)))

    def may_become(self, code: bytes) -> bool:
        """Return True if there are no unread bytes, or if they are the beginning of a reply with
        this code."""
        if self._ready or self._lines:
            return False
        if not self._is_buffering:
            return True
        return code.startswith(self._buffer.peek(len(code)))

    def add(self, data: bytes) -> None:
        """Append received data. Raises RemoteProtocolError if too much data is unread."""
        if len(data) <= MAX_PLAIN_BYTES and self.is_empty:
            self._is_buffering = False
            self._ready += _plain_replies(data)
            if self._ready:
                return
        self._is_buffering = True
        if self._buffer.add(data) > MAX_REPLY_BYTES:
            raise RemoteProtocolError(f"more than {MAX_REPLY_BYTES} bytes of replies at once")

    def next_reply(self) -> Reply | None:
        """Return the next reply. Return None if it is not complete yet. Raises
        RemoteProtocolError."""
        if self._ready:
            return self._ready.pop()
        if not self._is_buffering:
            return None
        if self.is_lenient:
            return self._next_lenient()
        while not isinstance(line := self._take_line(), NoLine):
            reply = self._take(line)
            if reply is not None:
                return reply
        if line is NoLine.INCOMPLETE:
            return None
        raise RemoteProtocolError(f"a line of a reply is {line.value}")

    def _take_line(self) -> bytes | NoLine:
        return self._buffer.take_line(MAX_REPLY_BYTES, ends_at_bare_lf=True)

    def _next_lenient(self) -> Reply | None:
        """Parse a reply that may be malformed.

        The reply may have malformed line ends, lines without a code, or several codes. The last
        code is the code of the reply.
        """
        while (line := self._buffer.take_loose_line(MAX_LINE_BYTES)) is not None:
            self._count(line)
            if self._code:
                found = _LINE.fullmatch(line)
            else:
                found = _CLEAR_CODE.fullmatch(line.lstrip(_BEFORE_CODE))
            if found is None:
                self._keep_uncoded(line)
                continue
            if found[1].startswith(_PRELIMINARY):
                continue
            self._keep(found[3] or b"")
            self._code = int(found[1])
            if found[2] != b"-":
                return self._whole(self._code)
        return None

    def _keep_uncoded(self, line: bytes) -> None:
        if self._code:
            self._keep(line)
        elif line.strip(_BEFORE_CODE):
            raise RemoteProtocolError(f"not a reply: {line[:80]!r}")

    def _count(self, line: bytes) -> None:
        self._bytes += len(line) + 2  # The line end has 2 bytes.
        if self._bytes > MAX_REPLY_BYTES:
            raise RemoteProtocolError(f"a reply of more than {MAX_REPLY_BYTES} bytes")

    def _keep(self, text: bytes) -> None:
        if len(self._lines) < MAX_REPLY_LINES:
            self._lines.append(text[:MAX_LINE_BYTES].decode("utf-8", "replace"))

    def _whole(self, code: int) -> Reply:
        whole = "\n".join(self._lines)
        self._lines, self._bytes, self._code = [], 0, 0
        return make_reply(code, whole)

    def _take(self, line: bytes) -> Reply | None:
        found = _LINE.fullmatch(line)
        if found is None:
            raise RemoteProtocolError(f"not a reply: {line[:80]!r}")
        code, text = int(found[1]), found[3] or b""
        if not self._lines:
            if found[2] != b"-":
                return make_reply(code, text[:MAX_LINE_BYTES].decode("utf-8", "replace"))
            self._code = code
        elif code != self._code:
            raise RemoteProtocolError(f"a reply begins with {self._code}, continues with {code}")
        self._keep(text)
        self._count(line)
        if found[2] == b"-":
            return None
        return self._whole(code)


@lru_cache(_KNOWN_READS)
def _plain_replies(data: bytes) -> tuple[Reply, ...]:
    """Return the replies in a read that has only whole lines of printable ASCII. The last reply is
    first.

    Return () if the read contains anything else. A lenient parser would return the same replies.
    """
    if _PLAIN.fullmatch(data) is None:
        return ()
    lines = data.decode("ascii").split("\r\n")
    return tuple([make_reply(int(line[:3]), line[4:]) for line in lines[-2::-1]])
