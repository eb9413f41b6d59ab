"""The parts of a returned message, read within bounds. Pure.

Owns: finding the leaves of a MIME tree, also of a broken one. Does not own: their text (text.py).
A returned message inside is a leaf: what it holds is not a report. Guarantees: never raises; at
most MAX_BYTES are looked at, MAX_PARTS parts and MAX_DEPTH levels.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from shared.responses.mime.fields import Fields, first, parameter, parse_fields, split_header

# Reports stand at the beginning; what follows is the returned message.
MAX_BYTES: Final = 262_144
MAX_PARTS: Final = 40
MAX_DEPTH: Final = 6

_GUESSED_BOUNDARY: Final = re.compile(
    rb"(?:^|\n)--([^\s-][^\n]{2,70}|[^\n]{3,70})\n[Cc]ontent-", re.ASCII
)
_TYPE: Final = re.compile(r"\s*([\w.+-]{1,40}/[\w.+-]{1,60})", re.ASCII)
# A mailbox file's line before a message, or text before the header (RFC 4155).
_MBOX_LINE: Final = re.compile(rb"\s{0,100}(?:>?From [^\n]{0,998}\n)?")
_HEADERS_ONLY: Final = frozenset(
    {"text/rfc822-headers", "text/rfc822-header", "message/global-headers"}
)
_MESSAGES: Final = frozenset({"message/rfc822", "message/global", "message/partial"})


class Part(Struct, frozen=True):
    """A leaf of the tree, or the message itself."""

    content_type: str
    fields: Fields
    body: bytes

    @property
    def is_original(self) -> bool:
        """Whether this is the message that is returned, or its header."""
        return self.content_type in _MESSAGES or self.content_type in _HEADERS_ONLY

    @property
    def charset(self) -> str:
        """The declared charset in lower case; "" if none is."""
        return parameter(first(self.fields, "content-type"), "charset").lower()


class Message(Struct, frozen=True):
    """A returned message: its header, and its leaves in their order."""

    fields: Fields
    content_type: str
    parts: tuple[Part, ...]


def read_message(content: bytes) -> Message:
    """Read the header and the leaves of a message with any line ends."""
    content = content[:MAX_BYTES]
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if content[:1] in (b"\n", b" ", b"\t") or content[:5] in (b"From ", b">From"):
        found = _MBOX_LINE.match(content)
        content = content[found.end() :] if found else content
    header, body = split_header(content)
    root = _part(parse_fields(header), body, "text/plain")
    leaves: list[Part] = []
    _collect(root, leaves, 0)
    return Message(root.fields, root.content_type, tuple(leaves))


def _part(fields: Fields, body: bytes, default_type: str) -> Part:
    found = _TYPE.match(first(fields, "content-type"))
    return Part(found[1].lower() if found else default_type, fields, body)


def _collect(part: Part, leaves: list[Part], depth: int) -> None:
    if len(leaves) >= MAX_PARTS:
        return
    boundary = b""
    if part.content_type.startswith("multipart/") and depth < MAX_DEPTH:
        boundary = _boundary(part)
    pieces = _split(part.body, boundary) if boundary else []
    if not pieces:
        leaves.append(part)
        return
    default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
    for piece in pieces:
        header, body = split_header(piece)
        _collect(_part(parse_fields(header), body, default), leaves, depth + 1)


def _boundary(part: Part) -> bytes:
    """The delimiter line: the declared boundary if it occurs, otherwise one that looks like it."""
    declared = parameter(first(part.fields, "content-type"), "boundary")
    octets = b"--" + declared.encode("utf-8", "surrogateescape").rstrip()
    if declared and octets in part.body:
        return octets
    found = _GUESSED_BOUNDARY.search(part.body[:8_192])
    return b"--" + found[1].rstrip() if found else b""


def _split(body: bytes, delimiter: bytes) -> list[bytes]:
    """The pieces between the delimiter lines, without preamble and epilogue."""
    pieces: list[bytes] = []
    at = 0 if body.startswith(delimiter) else _after(body, b"\n" + delimiter, 0)
    while at >= 0 and len(pieces) < MAX_PARTS:
        start = at + len(delimiter)
        end_of_line = body.find(b"\n", start)
        rest = body[start : end_of_line if end_of_line >= 0 else len(body)].strip()
        if rest == b"--" or end_of_line < 0:
            break
        following = _after(body, b"\n" + delimiter, end_of_line)
        if not rest:
            pieces.append(body[end_of_line + 1 : following if following >= 0 else len(body)])
        at = following
    return pieces


def _after(body: bytes, line: bytes, start: int) -> int:
    found = body.find(line, start)
    return found + 1 if found >= 0 else -1
