"""Converts a message with 8-bit text to one with 7-bit lines: RFC 6152, 3, and RFC 2045, 6.

The conversion is used for a server that does not offer 8BITMIME, and for a header with raw UTF-8 if
the server does not offer SMTPUTF8. Such a header is encoded, too (utf8_header.py). Each part with
8-bit text becomes quoted-printable, or base64 if that is shorter; multiparts and messages inside
messages are converted part by part. No other byte changes.

Owns: the choice of the encoding of each part, and the rule that decides which messages cannot be
converted. Does not own: the decision when a message is converted (edge/signing/preparing.py),
signatures (core/signing/dkim.py). Guarantees: no content causes an exception; the decoded content
of every part stays the same; the result is ASCII, and encoded parts have lines of at most 76
characters. See docs/decisions/0067-bodies-for-seven-bit-servers.md.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import b2a_qp
from typing import Final

from services.deliver.core.mime.fields import (
    Field,
    media_type,
    parse_fields,
    split,
    value_of,
)
from services.deliver.core.mime.utf8_header import ascii_header
from shared.mail.parameters import parameter_of, without_comments
from shared.smtp.content import has_longer_line, with_crlf
from shared.smtp.extensions import Unsendable

# The deepest nesting of parts that is converted. This limits the work and the recursion. Real mail
# has at most five levels.
MAX_DEPTH: Final = 30
# In quoted-printable an 8-bit byte needs two more characters; base64 makes the whole text longer by
# a third. So base64 is shorter if more than one byte in six is an 8-bit byte.
_BASE64_FROM: Final = 6
_BASE64_LINE: Final = 76

_ENCODING: Final = b"content-transfer-encoding"
_IDENTITY: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})
_TEXT: Final = b"text/plain"
_MESSAGE: Final = b"message/rfc822"


class _Refused(Exception):
    def __init__(self, reason: Unsendable) -> None:
        super().__init__(reason.value)
        self.reason = reason


def to_seven_bit(content: bytes) -> bytes | Unsendable:
    """Return the content converted to ASCII, or the reason why it cannot be converted."""
    if content.isascii():
        return content
    try:
        return _converted(with_crlf(content), _TEXT, depth=0, is_message=True)
    except _Refused as refused:
        return refused.reason


def to_ascii_header(content: bytes) -> bytes | Unsendable:
    """Return the message with an ASCII header, or the reason why this is not possible."""
    header, body = split(with_crlf(content))
    encoded = ascii_header(header)
    return Unsendable.EIGHT_BIT_HEADER if encoded is None else encoded + b"\r\n" + body


def _converted(part: bytes, default_type: bytes, depth: int, *, is_message: bool = False) -> bytes:
    """Convert one part or a whole message, including all parts inside it."""
    header, body = split(part)
    if not header.isascii():
        encoded = ascii_header(header)
        if encoded is None:
            raise _Refused(Unsendable.EIGHT_BIT_HEADER)
        header, part = encoded, encoded + b"\r\n" + body
    fields = parse_fields(header) if header.strip() else []
    if fields is None or depth > MAX_DEPTH:
        raise _Refused(Unsendable.NOT_CONVERTIBLE)
    declared = without_comments(value_of(fields, _ENCODING)).lower()
    if body.isascii() and declared not in {b"8bit", b"binary"}:
        return part
    content_type = value_of(fields, b"content-type")
    kind = media_type(content_type, default_type)
    if declared not in _IDENTITY or not kind:
        # If the part declares an encoding but has 8-bit bytes, the meaning of these bytes is not
        # known. If the type of the part does not parse, the part may have inner parts.
        raise _Refused(Unsendable.NOT_CONVERTIBLE)
    if kind.startswith(b"multipart/"):
        return _joined(fields, b"7bit", _multipart(body, kind, content_type, depth), is_message)
    if kind == _MESSAGE:
        inner = _converted(body, _TEXT, depth + 1, is_message=True)
        return _joined(fields, b"7bit", inner, is_message)
    if kind.startswith(b"message/") and not body.isascii():
        raise _Refused(Unsendable.NOT_CONVERTIBLE)  # RFC 2045, 6.4: message/* is not encoded
    return _joined(fields, *_leaf(body, is_text=kind.startswith(b"text/")), is_message)


def _multipart(body: bytes, kind: bytes, content_type: bytes, depth: int) -> bytes:
    if kind == b"multipart/signed" and not body.isascii():
        raise _Refused(Unsendable.SIGNED_PARTS)  # RFC 1847, 2.1: the signature covers the encoding
    boundary = parameter_of(content_type, b"boundary")
    # RFC 2046, 5.1.1: spaces may follow the boundary, and the line end before the boundary belongs
    # to the delimiter.
    line = re.compile(rb"(?:\A|\r\n)--%b(--)?[ \t]*(?=\r\n|\Z)" % re.escape(boundary))
    delimiters = list(line.finditer(body))
    if not boundary or not delimiters:
        raise _Refused(Unsendable.NOT_CONVERTIBLE)
    default_type = _MESSAGE if kind == b"multipart/digest" else _TEXT
    pieces = [_ascii_only(body[: delimiters[0].start()])]
    for at, delimiter in enumerate(delimiters):
        end = delimiters[at + 1].start() if at + 1 < len(delimiters) else len(body)
        pieces.append(delimiter[0])
        if delimiter[1]:  # the last delimiter: no part follows
            rest = body[delimiter.end() :]
            if at + 1 < len(delimiters) and not rest.isascii():
                raise _Refused(Unsendable.NOT_CONVERTIBLE)  # some programs also show later parts
            pieces.append(_ascii_only(rest))
            break
        part = body[delimiter.end() + 2 : end]
        if part:
            pieces += (b"\r\n", _converted(part, default_type, depth + 1))
        else:
            pieces.append(body[delimiter.end() : end])
    return b"".join(pieces)


def _ascii_only(text: bytes) -> bytes:
    """Make the text around the parts ASCII. Mail programs hide this text (RFC 2046, 5.1.1)."""
    return text if text.isascii() else bytes(byte if byte < 0x80 else 0x3F for byte in text)


def _leaf(body: bytes, *, is_text: bool) -> tuple[bytes, bytes]:
    """Return the encoding of a part that has no inner parts, and the encoded body."""
    if body.isascii() and not has_longer_line(body):
        return b"7bit", body
    eight_bit = len(body) - len(body.decode("ascii", "ignore"))
    if is_text and eight_bit * _BASE64_FROM <= len(body):
        encoded = _quoted_printable(body)
        # A boundary in the middle of a line must not become the start of a line.
        if b"=\r\n--" not in encoded:
            return b"quoted-printable", encoded
    text = b64encode(body)
    lines = [text[at : at + _BASE64_LINE] for at in range(0, len(text), _BASE64_LINE)]
    return b"base64", b"\r\n".join([*lines, b""] if body.endswith(b"\r\n") else lines)


def _quoted_printable(body: bytes) -> bytes:
    # Each line is encoded alone, because b2a_qp ends soft line breaks with LF if the first line has
    # no CRLF.
    lines = (b2a_qp(line, istext=False).replace(b"\n", b"\r\n") for line in body.split(b"\r\n"))
    return b"\r\n".join(lines)


def _joined(fields: list[Field], encoding: bytes, body: bytes, is_message: bool) -> bytes:
    """Return the part with a field that declares the encoding; all other fields are not changed."""
    kept = [field.raw for field in fields if field.name != _ENCODING]
    if is_message and not value_of(fields, b"mime-version"):
        kept.append(b"MIME-Version: 1.0\r\n")  # without MIME-Version, the encoding has no meaning
    return b"%bContent-Transfer-Encoding: %b\r\n\r\n%b" % (b"".join(kept), encoding, body)
