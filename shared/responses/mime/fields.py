"""Header fields of a returned message, of its parts and of reports, in any state. Pure.

Owns: splitting a block of bytes into fields, and the parameters of a field. Does not own: the
checks of submitted mail (shared/mail/headers.py): here everything is read as well as it can be.
Guarantees: never raises; the work is linear; at most MAX_FIELDS fields are read.
"""

from __future__ import annotations

import re
from typing import Final

MAX_FIELDS: Final = 400  # real messages have up to 150
MAX_VALUE_CHARS: Final = 4_096  # of one field; a longer one is cut
MAX_HEADER_BYTES: Final = 65_536

# A field and its continuation lines. A line that begins with no name is skipped.
_FIELD: Final = re.compile(rb"^([!-9;-~]{1,76})[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_FOLD: Final = re.compile(r"\n[ \t]+")
_PARAMETER: Final = re.compile(
    r";\s*([a-z-]{1,32})\*?(?:0\*?)?\s*=\s*(?:\"([^\"]{0,300})\"|([^\s;\"]{1,300}))", re.IGNORECASE
)
_BLANK_LINE: Final = re.compile(rb"\n[ \t]*\n")


class Fields:
    """The fields of a header by their names in lower case; decoded where they are asked for.

    Of the 30 to 60 fields of a message few are read, and decoding is most of the work.
    """

    __slots__ = ("_octets", "_values")

    def __init__(self, octets: dict[bytes, list[bytes]]) -> None:
        self._octets = octets
        self._values: dict[str, list[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._octets

    def get(self, name: str) -> list[str]:
        """The values of the fields of this name, unfolded; [] if there are none."""
        values = self._values.get(name)
        if values is None:
            values = [_value(octets) for octets in self._octets.get(name.encode(), ())]
            self._values[name] = values
        return values


NO_FIELDS: Final = Fields({})


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
    """The fields of a header block."""
    fields: dict[bytes, list[bytes]] = {}
    for name, octets in _FIELD.findall(header)[:MAX_FIELDS]:
        fields.setdefault(name.lower(), []).append(octets)
    return Fields(fields)


def first(fields: Fields, name: str) -> str:
    """The value of the first field of this name; "" if there is none."""
    values = fields.get(name)
    return values[0] if values else ""


def parameter(value: str, name: str) -> str:
    """A parameter of a structured value (RFC 2045, 5.1; RFC 2231 without its charset)."""
    for found in _PARAMETER.finditer(value):
        if found[1].lower() == name:
            return found[2] if found[2] is not None else found[3]
    return ""


def _value(octets: bytes) -> str:
    octets = octets[: 4 * MAX_VALUE_CHARS]
    try:
        value = octets.decode("utf-8")
    except UnicodeDecodeError:
        value = octets.decode("latin-1")
    if "\n" in value:
        value = _FOLD.sub(" ", value)
    return value[:MAX_VALUE_CHARS].strip()
