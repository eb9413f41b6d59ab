"""Reads the header fields and MIME parts of a returned message, even if it is malformed.

This module splits a message into header and body, the header into fields, and the body into the
leaves of the MIME tree. A returned message inside a report is one leaf, because its parts are not
parts of the report. Malformed mail is read as far as possible. This module does not own the text of
a part (text.py) and the checks of submitted mail (shared/mail/headers.py). No function raises an
exception. The work is linear. At most MAX_BYTES, MAX_PARTS parts, MAX_DEPTH levels and MAX_FIELDS
fields are read. This module does no I/O.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from shared.mail.parameters import parameter_of

MAX_FIELDS: Final = 400  # Real messages have up to 150 fields.
MAX_VALUE_CHARS: Final = 4_096  # A longer value of a field is cut.
MAX_HEADER_BYTES: Final = 65_536

# Matches a field and its continuation lines. A line without a field name is skipped.
_FIELD: Final = re.compile(rb"^([!-9;-~]{1,76})[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_FOLD: Final = re.compile(r"\n[ \t]+")
_BLANK_LINE: Final = re.compile(rb"\n[ \t]*\n")

# Only the beginning of a message is read, because a report precedes the message that it returns.
MAX_BYTES: Final = 262_144
MAX_PARTS: Final = 40
MAX_DEPTH: Final = 6

_GUESSED_BOUNDARY: Final = re.compile(
    rb"(?:^|\n)--([^\s-][^\n]{2,70}|[^\n]{3,70})\n[Cc]ontent-", re.ASCII
)
_TYPE: Final = re.compile(r"\s*([\w.+-]{1,40}/[\w.+-]{1,60})", re.ASCII)
# Matches white space and an mbox line (RFC 4155) before the header of a message.
_MBOX_LINE: Final = re.compile(rb"\s{0,100}(?:>?From [^\n]{0,998}\n)?")
_HEADERS_ONLY: Final = frozenset(
    {"text/rfc822-headers", "text/rfc822-header", "message/global-headers"}
)
_MESSAGES: Final = frozenset({"message/rfc822", "message/global", "message/partial"})


class Fields:
    """The fields of a header by their lower-case names. Values are decoded on demand.

    A message has 30 to 60 fields, but few of them are read. Decoding all fields would take most of
    the time.
    """

    __slots__ = ("_octets", "_values")

    def __init__(self, octets: dict[bytes, list[bytes]]) -> None:
        self._octets = octets
        self._values: dict[str, list[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._octets

    def get(self, name: str) -> list[str]:
        """Return the unfolded values of all fields of this name. Return [] if there are none."""
        values = self._values.get(name)
        if values is None:
            values = [_value(octets) for octets in self._octets.get(name.encode(), ())]
            self._values[name] = values
        return values


NO_FIELDS: Final = Fields({})


class Part(Struct, frozen=True):
    """A leaf of the MIME tree. A message without parts has one leaf: the message itself."""

    content_type: str
    fields: Fields
    body: bytes

    @property
    def is_original(self) -> bool:
        """Return True if this part is the returned message or its header."""
        return self.content_type in _MESSAGES or self.content_type in _HEADERS_ONLY

    @property
    def charset(self) -> str:
        """Return the declared charset in lower case. Return "" if none is declared."""
        return self.parameter(b"charset").decode("utf-8", "replace").lower()

    def parameter(self, name: bytes) -> bytes:
        """Return a parameter of Content-Type. Return b"" if there is none."""
        value = first(self.fields, "content-type")
        return parameter_of(value.encode("utf-8", "surrogateescape"), name)


class Message(Struct, frozen=True):
    """A returned message: its header, and the leaves of its MIME tree in order."""

    fields: Fields
    content_type: str
    parts: tuple[Part, ...]


def split_header(block: bytes) -> tuple[bytes, bytes]:
    """Split a message or part with LF line ends into its header and its body."""
    if block.startswith(b"\n"):
        return b"", block[1:]
    end = block.find(b"\n\n", 0, MAX_HEADER_BYTES)
    if end < 0:
        found = _BLANK_LINE.search(block, 0, MAX_HEADER_BYTES)
        if found is None:
            return block[:MAX_HEADER_BYTES], block[MAX_HEADER_BYTES:]
        return block[: found.start() + 1], block[found.end() :]
    return block[: end + 1], block[end + 2 :]


def parse_fields(header: bytes) -> Fields:
    """Return the fields of a header block."""
    fields: dict[bytes, list[bytes]] = {}
    for name, octets in _FIELD.findall(header)[:MAX_FIELDS]:
        fields.setdefault(name.lower(), []).append(octets)
    return Fields(fields)


def first(fields: Fields, name: str) -> str:
    """Return the value of the first field of this name. Return "" if there is none."""
    values = fields.get(name)
    return values[0] if values else ""


def read_message(content: bytes) -> Message:
    """Read the header and the leaves of a message. Any line ends are accepted."""
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


def _value(octets: bytes) -> str:
    octets = octets[: 4 * MAX_VALUE_CHARS]
    try:
        value = octets.decode("utf-8")
    except UnicodeDecodeError:
        value = octets.decode("latin-1")
    if "\n" in value:
        value = _FOLD.sub(" ", value)
    return value[:MAX_VALUE_CHARS].strip()


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
    """Return the declared delimiter line if it occurs, else a line that looks like a delimiter."""
    declared = part.parameter(b"boundary")
    octets = b"--" + declared
    if declared and octets in part.body:
        return octets
    found = _GUESSED_BOUNDARY.search(part.body[:8_192])
    return b"--" + found[1].rstrip() if found else b""


def _split(body: bytes, delimiter: bytes) -> list[bytes]:
    """Return the pieces between the delimiter lines, without preamble and epilogue."""
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
