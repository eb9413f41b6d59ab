"""The header lines that a broken rule is about, with their numbers. Pure.

Owns: finding the lines, and making what a client wrote safe to show. Does not own: what counts
as a header or breaks a rule (shared/mail); names are read here as headers.py reads them, so that
an odd spelling is found too. Bounded by the length of the header, which scan() bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from shared.mail.headers import RAW_CHARS

_ANY_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_NOT_IN_NAMES: Final = bytes({*range(256)} - {*range(0x21, 0x7F)})
_CODE_RULE: Final = "R8"
# R9 to R11 compare the envelope sender with From, or have only From to go by.
_HEADERS: Final[dict[str, tuple[bytes, ...]]] = {
    "R2": (b"message-id",),
    "R3": (b"to",),
    "R4": (b"from",),
    "R5": (b"cc", b"bcc"),
    "R6": (b"subject",),
    "R7": (b"reply-to",),
    "R9": (b"from",),
    "R10": (b"from",),
    "R11": (b"from",),
    "R12": (b"return-path",),
}
_NOT_ALLOWED: Final = frozenset({"R5", "R12"})


class HeaderLine(Struct, frozen=True):
    """One header, unfolded; `number` is that of its first line in the message, from 1."""

    number: int
    name: bytes
    text: str  # cut to RAW_LETTERS


def header_lines(head: bytes) -> list[HeaderLine]:
    """The headers in these bytes, which are a message's up to the end of its header."""
    return [
        HeaderLine(number, name.translate(None, _NOT_IN_NAMES).lower(), _cut(octets))
        for number, octets in _unfolded(head)
        for name in [octets.partition(b":")[0]]
    ]


def lines_meant(rule: str, lines: list[HeaderLine], code_header: bytes) -> list[HeaderLine]:
    """The lines that this rule concerns; empty if the header is missing, and for R1."""
    names = (code_header,) if rule == _CODE_RULE else _HEADERS.get(rule, ())
    return [line for line in lines if line.name in names]


def line_to_fix(rule: str, meant: list[HeaderLine]) -> str:
    """The text of the line to fix, the second one of a doubled header; "" if there is none."""
    if not meant:
        return ""
    one_too_many = len(meant) > 1 and rule not in _NOT_ALLOWED
    return meant[1 if one_too_many else 0].text


def printable(text: str) -> str:
    """The text with everything written out that a terminal would obey or not show."""
    return "".join(
        letter if letter.isprintable() else " " if letter == "\t" else repr(letter)[1:-1]
        for letter in text
    )


def _unfolded(head: bytes) -> Iterator[tuple[int, bytes]]:
    begin, parts = 0, list[bytes]()
    for number, line in enumerate(_ANY_LINE_END.split(head), 1):
        if line[:1] in (b" ", b"\t") and parts:
            parts.append(line)
        elif line:
            if parts:
                yield begin, b"".join(parts)
            begin, parts = number, [line]
    if parts:
        yield begin, b"".join(parts)


def _cut(octets: bytes) -> str:
    text = octets[: 4 * RAW_CHARS].decode("utf-8", "backslashreplace").rstrip()
    whole = len(octets) <= 4 * RAW_CHARS and len(text) <= RAW_CHARS
    return text if whole else text[: RAW_CHARS - 1] + "…"
