"""The service extensions of an EHLO reply (RFC 5321, 4.1.1.1), as far as we use them.

Owns: parsing and encoding their keywords. Guarantees: it never raises; unknown extensions are
ignored, as the RFC requires.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

_MAX_SIZE_DIGITS: Final = 20  # RFC 1870, 3


class Extensions(Struct, frozen=True):
    """The extensions that a server offers. `size_limit_bytes` is 0 if it names no limit."""

    pipelining: bool = False
    size: bool = False
    size_limit_bytes: int = 0
    eight_bit_mime: bool = False
    smtputf8: bool = False
    enhanced_status_codes: bool = False
    starttls: bool = False
    auth: tuple[str, ...] = ()  # the mechanisms, in capitals
    chunking: bool = False


def all_but_auth(*, starttls: bool) -> Extensions:
    """Everything that our servers can do for a peer that does not log in. They know no BDAT."""
    return Extensions(
        pipelining=True,
        size=True,
        eight_bit_mime=True,
        smtputf8=True,
        enhanced_status_codes=True,
        starttls=starttls,
    )


def parse_extensions(ehlo_text: str) -> Extensions:
    """Parse the text of an EHLO reply, its lines joined by LF; the first is the greeting."""
    words: dict[str, str] = {}
    for line in ehlo_text.split("\n")[1:]:
        keyword, _, rest = line.strip().partition(" ")
        words.setdefault(keyword.upper(), rest.strip())
    limit = words.get("SIZE", "").partition(" ")[0]
    known = limit.isascii() and limit.isdecimal() and len(limit) <= _MAX_SIZE_DIGITS
    return Extensions(
        pipelining="PIPELINING" in words,
        chunking="CHUNKING" in words,
        size="SIZE" in words,
        size_limit_bytes=int(limit) if known else 0,
        eight_bit_mime="8BITMIME" in words,
        smtputf8="SMTPUTF8" in words,
        enhanced_status_codes="ENHANCEDSTATUSCODES" in words,
        starttls="STARTTLS" in words,
        auth=tuple(words.get("AUTH", "").upper().split()),
    )


def encode_extensions(offered: Extensions) -> list[str]:
    """Return the lines of an EHLO reply after its greeting."""
    size = f"SIZE {offered.size_limit_bytes}" if offered.size_limit_bytes else "SIZE"
    lines = (
        (offered.pipelining, "PIPELINING"),
        (offered.chunking, "CHUNKING"),
        (offered.size, size),
        (offered.eight_bit_mime, "8BITMIME"),
        (offered.smtputf8, "SMTPUTF8"),
        (offered.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
        (offered.starttls, "STARTTLS"),
        (bool(offered.auth), "AUTH " + " ".join(offered.auth)),
    )
    return [line for is_offered, line in lines if is_offered]
