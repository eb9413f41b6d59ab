"""Reads the comments and parameters in the structured value of a MIME header field.

This module reads comments (RFC 5322, 3.2.2), parameters (RFC 2045, 5.1), and parameters in several
pieces or with a character set (RFC 2231). The caller must unfold the value. No input causes an
exception, and the time is linear.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_PARAMETER: Final = re.compile(rb";\s*([^\s;=]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s;]*)", re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
# Matches the text after the name of a parameter in RFC 2231: `*0`, `*1*`, or `*` with a character
# set.
_PIECE: Final = re.compile(rb"\*(\d{1,4})?(\*)?")
# Matches a quoted string, an escaped character, a parenthesis, or other text.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|\\.|[()]|[^()"\\]+|.', re.DOTALL)


def without_comments(value: bytes) -> bytes:
    """Return a structured value in which each comment is replaced by a space (RFC 5322, 3.2.2)."""
    if b"(" not in value:
        return value
    kept, depth = [], 0
    for found in _TOKEN.finditer(value):
        token = found[0]
        if token == b"(":
            depth += 1
            kept.append(b" ")
        elif token == b")" and depth:
            depth -= 1
        elif not depth:
            kept.append(token)
    return b"".join(kept).strip()


def parameter_of(value: bytes, name: bytes) -> bytes:
    """Return the value of the first parameter with this name, or "". The name must be in lower
    case.

    The pieces of a parameter are joined. A value with a character set is decoded to the bytes in
    this character set (RFC 2231, 3 and 4).
    """
    pieces: dict[int, bytes] = {}
    for found in _PARAMETER.finditer(without_comments(value)):
        key, text = found[1].lower(), found[2]
        if not key.startswith(name):
            continue
        if text[:1] == b'"':
            text = _ESCAPED.sub(rb"\1", text[1:].removesuffix(b'"'))
        if key == name:
            return text.rstrip()
        if piece := _PIECE.fullmatch(key, len(name)):
            is_extended = piece[2] is not None or piece[1] is None
            number = int(piece[1] or 0)
            pieces.setdefault(number, _decoded(text, number) if is_extended else text)
    joined: list[bytes] = []
    while (part := pieces.get(len(joined))) is not None:
        joined.append(part)
    return b"".join(joined).rstrip()


def _decoded(text: bytes, number: int) -> bytes:
    """Decode an extended value. The first piece begins with a character set and a language."""
    return unquote_to_bytes(text if number else text.rpartition(b"'")[2])
