"""How a message is offered to a server with certain extensions, or why it cannot be offered.

MAIL's parameters and the content: RFC 1870 (SIZE), 3030 (CHUNKING), 6152 (8BITMIME), 6531
(SMTPUTF8).
"""

from __future__ import annotations

from enum import StrEnum

from shared.smtp.content import END_MARK, dot_stuffed, with_crlf
from shared.smtp.extensions import Extensions


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


def encode_for(offered: Extensions, content: bytes) -> tuple[bytes, int]:
    """Return the bytes of the content as they are written, and its size as SIZE means it.

    That is without doubled dots and the end mark (RFC 1870, 3).
    """
    text = with_crlf(content)
    if offered.chunking:
        return b"BDAT %d LAST\r\n%b" % (len(text), text), len(text)
    return dot_stuffed(text) + END_MARK, len(text)


def mail_parameters(offered: Extensions, content: bytes, size_bytes: int, is_utf8: bool) -> bytes:
    """Return the parameters of MAIL that are needed and offered; `is_utf8`: of an address."""
    words = b" SIZE=%d" % size_bytes if offered.size else b""
    if not is_utf8 and content.isascii():
        return words
    if offered.eight_bit_mime:
        words += b" BODY=8BITMIME"
    if offered.smtputf8 and (is_utf8 or has_utf8_header(content)):
        words += b" SMTPUTF8"
    return words


def has_utf8_header(content: bytes) -> bool:
    """Whether the header has non-ASCII UTF-8; other 8-bit encodings are not declared."""
    ends = (content.find(b"\r\n\r\n"), content.find(b"\n\n"))
    header = content[: min((end for end in ends if end >= 0), default=len(content))]
    if header.isascii():
        return False
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
