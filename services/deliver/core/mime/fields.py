"""Parses header fields of a message or MIME part: RFC 5322, 2.2, and RFC 2045, 5 and 6.

Owns: splitting a part into header and body, splitting a header into fields, the type of a part.
Does not own: parameters (shared/mail/parameters.py), the use of these values (seven_bit.py,
dkim.py). Guarantees: no input causes an exception, and the time is linear; for a value that does
not parse, the result is None or the default of RFC 2045. All input must have CRLF line ends.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from shared.mail.parameters import without_comments

_NAME: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
# Matches a line end that ends a field. A line end inside a folded field does not match.
_END: Final = re.compile(rb"\r\n(?![ \t])")
_TYPE: Final = re.compile(rb"\s*([^\s;/]+/[^\s;/]+)\s*(?:;|\Z)")
# Types whose body has further parts. RFC 2045, 6.4: such a body must not be encoded as a whole.
_COMPOSITE: Final = re.compile(rb"(?i)multipart|message")


class Field(Struct, frozen=True):
    """A field: its name in lower case, its unfolded value, and the lines as they were read."""

    name: bytes
    value: bytes
    raw: bytes


def split(part: bytes) -> tuple[bytes, bytes]:
    """Split a part into the header with its last CRLF, and the body after the blank line."""
    if part[:2] == b"\r\n":
        return b"", part[2:]
    header, _, body = part.partition(b"\r\n\r\n")
    return header + b"\r\n", body


def split_fields(header: bytes) -> list[bytes]:
    """Return the fields of a header in order. A field is still folded, but has no CRLF at its end.

    Lines without a colon and empty lines are returned, too.
    """
    return _END.split(header)[:-1]


def unfold(text: bytes) -> bytes:
    """Remove the line ends from a field: RFC 5322, 2.2.3."""
    return text.replace(b"\r\n", b"")


def parse_fields(header: bytes) -> list[Field] | None:
    """Return the fields of a header in order; None if a line belongs to no field."""
    fields = []
    for raw in split_fields(header):
        found = _NAME.match(raw)
        if found is None:
            return None
        value = unfold(raw[found.end() :]).strip()
        fields.append(Field(found[1].lower(), value, raw + b"\r\n"))
    return fields


def value_of(fields: list[Field], name: bytes) -> bytes:
    """Return the value of the first field of this name; "" if there is no such field."""
    return next((field.value for field in fields if field.name == name), b"")


def media_type(content_type: bytes, default: bytes) -> bytes:
    """Return the type and subtype in lower case from the value of Content-Type.

    If the value does not parse, the result is text/plain (RFC 2045, 5.2). However, the result is ""
    if the value may mean a type whose body has parts.
    """
    if not content_type:
        return default
    found = _TYPE.match(without_comments(content_type))
    if found:
        return found[1].lower()
    return b"" if _COMPOSITE.search(content_type) else b"text/plain"  # RFC 2045, 5.2
