"""Defines the SMTP extensions that are used, and encodes a message for the extensions of a server.
This module does no I/O.

This module parses and encodes the keywords of an EHLO reply (RFC 5321, 4.1.1.1). It owns the
parameters of MAIL, the form of the content, and the reasons why a message cannot be offered. The
parameters and the form depend on SIZE (RFC 1870), CHUNKING (RFC 3030), 8BITMIME (RFC 6152) and
SMTPUTF8 (RFC 6531). The order of commands is in client/session.py and server/session.py. No
function raises an exception. Unknown extensions are ignored, as the RFC requires.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.smtp.content import END_MARK, dot_stuffed, with_crlf

_MAX_SIZE_DIGITS: Final = 20  # RFC 1870, 3


class Extensions(Struct, frozen=True):
    """The extensions that a server offers. `size_limit_bytes` is 0 if the server has no limit."""

    pipelining: bool = False
    size: bool = False
    size_limit_bytes: int = 0
    eight_bit_mime: bool = False
    smtputf8: bool = False
    enhanced_status_codes: bool = False
    starttls: bool = False
    auth: tuple[str, ...] = ()  # The AUTH mechanisms, in upper case.
    chunking: bool = False


class Unsendable(StrEnum):
    """The reason why a message cannot be offered to this server, as a text for the sender."""

    SENDER = "The sender's address cannot be written in SMTP"
    RECIPIENT = "The recipient's address cannot be written in SMTP"
    SMTPUTF8 = "The address is not ASCII, and the server does not offer SMTPUTF8"
    TOO_LARGE = "The message is larger than the server accepts (SIZE)"
    EIGHT_BIT = "The message has 8-bit text, and the server does not offer 8BITMIME"
    EIGHT_BIT_HEADER = (
        "A header field is not ASCII and was not encoded, and the server does not offer SMTPUTF8"
    )
    SIGNED_PARTS = (
        "The message has 8-bit text in a signed part (multipart/signed), which cannot be converted"
        " without breaking its signature, and the server does not offer 8BITMIME"
    )
    NOT_CONVERTIBLE = (
        "The message has 8-bit text in a part that cannot be converted, and the server does not"
        " offer 8BITMIME"
    )


def all_but_auth(*, starttls: bool) -> Extensions:
    """Return all extensions that the servers of Sluice offer, except AUTH. CHUNKING is not
    offered."""
    return Extensions(
        pipelining=True,
        size=True,
        eight_bit_mime=True,
        smtputf8=True,
        enhanced_status_codes=True,
        starttls=starttls,
    )


def parse_extensions(ehlo_text: str) -> Extensions:
    """Parse the text of an EHLO reply. Its lines are separated by LF, and the first line is the
    greeting."""
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
    """Return the lines of an EHLO reply that follow the greeting."""
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


def encode_for(offered: Extensions, content: bytes) -> tuple[bytes, int]:
    """Return the bytes to write for the content, and the size of the content for the parameter
    SIZE.

    The size does not include doubled dots and the end mark (RFC 1870, 3).
    """
    text = with_crlf(content)
    if offered.chunking:
        return b"BDAT %d LAST\r\n%b" % (len(text), text), len(text)
    return dot_stuffed(text) + END_MARK, len(text)


def mail_parameters(offered: Extensions, content: bytes, size_bytes: int, is_utf8: bool) -> bytes:
    """Return the parameters of MAIL that are needed and that the server offers.

    `is_utf8` is True if at least one address is not ASCII.
    """
    words = b" SIZE=%d" % size_bytes if offered.size else b""
    if not is_utf8 and content.isascii():
        return words
    if offered.eight_bit_mime:
        words += b" BODY=8BITMIME"
    if offered.smtputf8 and (is_utf8 or has_utf8_header(content)):
        words += b" SMTPUTF8"
    return words


def has_utf8_header(content: bytes) -> bool:
    """Return True if the header contains UTF-8 that is not ASCII, so that SMTPUTF8 is needed."""
    ends = (content.find(b"\r\n\r\n"), content.find(b"\n\n"))
    header = content[: min((end for end in ends if end >= 0), default=len(content))]
    if header.isascii():
        return False
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
