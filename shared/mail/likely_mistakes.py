"""Guesses the sender's mistake if a message or an address cannot be parsed. This module does no
I/O.

A refusal always states the fault. If the bytes look like a known mistake, a hint is added. This
module owns the hints and their texts. headers.py and address.py decide what is refused, and their
decisions never depend on a hint. At most the first 4,096 octets are read.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from typing import Final

from shared.mail.address import ParsedAddress, parse_single
from shared.mail.address_faults import Fault
from shared.mail.encoded_words import shows_nothing

_LOOKED_AT_OCTETS: Final = 4_096
_SPEC_VERSION: Final = re.compile(rb'"specversion"\s*:')
_HEADER_LINE: Final = re.compile(rb"[!-9;-~]{1,80}:")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{4,}")
# Only this number of octets is decoded to check whether the bytes begin with a header line.
_BASE64_OCTETS: Final = 64
_MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_ADDRESS: Final = re.compile(r"([^\s<>@\"]+)@([^\s<>@\"]+)")
_ATOMS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+")  # with dots anywhere
_PLACED: Final = {
    *(Fault.LOCAL_PART, Fault.DOMAIN, Fault.OUTSIDE, Fault.INSIDE, Fault.NO_ADDRESS),
    Fault.CONTROL,
}


def mistake_in_bytes(content: bytes) -> str:
    """Return the likely mistake in bytes that are not a message. Return "" if no mistake is
    recognised."""
    start = content[:_LOOKED_AT_OCTETS].lstrip(b" \t\r\n")
    for magic, name in _MAGIC.items():
        if content.startswith(magic):
            return (
                f"it looks compressed ({name}): publish the bytes of the message as they are, and"
                " let the producer compress (compression.type)"
            )
    if content.startswith(_UTF_16_MARKS) or _is_utf_16(content[:64]):
        return "it looks like UTF-16: encode the header in ASCII and the text as its charset says"
    if content.startswith(b"Obj\x01") or (content[:1] == b"\0" and len(content) > 5):
        return (
            "it looks like Avro or another form of a schema registry: use a serializer that leaves"
            " bytes as they are"
        )
    if content.startswith(_UTF_8_MARK):
        return "it begins with a byte order mark: write UTF-8 without one"
    if start.startswith(b"{"):
        return _in_json(start)
    if start.startswith(b'"'):
        return "it looks like a JSON string: use a serializer that leaves bytes as they are"
    if _is_base64(start):
        return (
            "it looks like base64: publish the bytes of the message as they are, or a CloudEvent"
            " with data_base64"
        )
    return ""


def mistake_in_event(value: bytes) -> str:
    """Return the likely mistake in a value that is not a JSON object, or ""."""
    hint = mistake_in_bytes(value)
    if not hint and _HEADER_LINE.match(value):
        return "it looks like a message: leave content-type out, or write message/rfc822"
    return "" if value.lstrip(b" \t\r\n")[:1] == b"{" else hint


def mistake_in_address(value: str) -> str:
    """Return the likely mistake in an invalid address. Return "" if no mistake is recognised."""
    parsed = parse_single(value)
    if isinstance(parsed, ParsedAddress) or parsed.fault not in _PLACED:
        return ""
    start = value.find("<") + 1
    for at in (*range(start, len(value)), *range(start)):
        letter = value[at]
        if not letter.isascii() and shows_nothing(letter):
            name = unicodedata.name(letter, "")
            called = f"U+{ord(letter):04X}" + (f" ({name})" if name else "")
            return f"{called} stands at position {at + 1}"
    found = _ADDRESS.search(value, start) or _ADDRESS.search(value)
    if found is None:
        return ""
    local, domain = found.groups()
    if parsed.fault is Fault.DOMAIN and "_" in domain:
        return "a host name has no underscore"
    quoted = f'"{local}"@{domain}'
    is_dotted = parsed.fault is Fault.LOCAL_PART and '"' not in value[start:]
    if is_dotted and _ATOMS.fullmatch(local) and isinstance(parse_single(quoted), ParsedAddress):
        return f"it needs quotes, {quoted}"
    return ""


def visible(text: str) -> str:
    """Escape each character that is invisible or controls a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible_letter, text))


def _visible_letter(letter: str) -> str:
    if letter == "\t" or (letter.isascii() and letter.isprintable()):
        return letter
    if letter.isprintable() and not shows_nothing(letter):
        return letter
    return ascii(letter)[1:-1]


def _in_json(start: bytes) -> str:
    if _SPEC_VERSION.search(start):
        return (
            "it looks like a CloudEvent in structured mode: add the header"
            " content-type: application/cloudevents+json"
        )
    return "it looks like JSON: publish the message itself, or a CloudEvent that holds it"


def _is_utf_16(start: bytes) -> bool:
    """Return True if every second octet is zero, as in UTF-16 text in Latin script."""
    pairs = len(start) // 2
    return pairs >= 4 and any(
        start[first : 2 * pairs : 2].count(0) == pairs and 0 not in start[1 - first : 2 * pairs : 2]
        for first in (0, 1)
    )


def _is_base64(start: bytes) -> bool:
    """Return True if the bytes are base64 of a header line."""
    found = _BASE64.match(start)
    if found is None:
        return False
    letters = found[0][:_BASE64_OCTETS].translate(bytes.maketrans(b"-_", b"+/"))
    letters = letters[: len(letters) // 4 * 4]
    try:
        return _HEADER_LINE.match(binascii.a2b_base64(letters)) is not None
    except binascii.Error:
        return False
