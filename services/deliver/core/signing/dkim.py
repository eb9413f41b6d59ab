"""DKIM signatures: RFC 6376, relaxed/relaxed, with SHA-256; the caller passes a signing function.

Owns: the choice of signed header fields, canonicalisation, the text of the DKIM-Signature field.
Does not own: keys and algorithms (edge/signing/signer.py), dot-stuffing (shared/smtp/content.py).

Guarantees: total; any content gives a field, with any signing function that returns. The bytes
signed are the bytes that a server reads: `with_crlf` gives content the line ends that
shared/smtp/content.py would give it; after that shared/smtp/content.py changes only dots.

Cost: the body is processed by bytes.replace and hashing only, never line by line.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

# In this order in h=. The fields that the current rules concern; fields that a relay may add or
# change (Received, Return-Path) are left out, as RFC 6376, 5.4.1 requires. List-Unsubscribe and
# List-Unsubscribe-Post: RFC 8058, 4.
SIGNED: Final = (
    b"from",
    b"to",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"x-bm-mailing",
)
# Listed once more than it occurs, so that a second such field added on top breaks the signature
# (RFC 6376, 8.15).
OVERSIGNED: Final = b"from"
# RFC 5322, 2.1.1: 78 characters without CRLF. Only a longer domain exceeds it.
MAX_LINE_BYTES: Final = 76

_FOLD: Final = b"\r\n\t"

Field = tuple[bytes, bytes]  # name in lower case; the canonical `name:value`, without CRLF


class Identity(Struct, frozen=True):
    """The signer: a= (algorithm of the key), d= (domain in lower-case A-labels), s= (selector)."""

    algorithm: str
    domain: str
    selector: str


def split(content: bytes) -> tuple[bytes, bytes]:
    """Split into the header with its last CRLF, and the body after the blank line.

    `content` has CRLF line ends only.
    """
    if content[:2] == b"\r\n":
        return b"", content[2:]
    header, _, body = content.partition(b"\r\n\r\n")
    return header + b"\r\n", body


def canonical_body(body: bytes) -> bytes:
    """Canonicalise a body: RFC 6376, 3.4.4.

    `body` has CRLF line ends only, and ends with one unless it is empty.
    """
    lines = _single_spaces(body).replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return lines + b"\r\n" if lines else b""


def canonical_fields(header: bytes) -> list[Field]:
    """Canonicalise every field of a header with CRLF line ends, in order: RFC 6376, 3.4.2."""
    unfolded = header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    fields = []
    for line in _single_spaces(unfolded).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            name = name.rstrip(b" ").lower()
            fields.append((name, b"%b:%b" % (name, value.strip(b" "))))
    return fields


def signature_field(
    content: bytes, identity: Identity, signed_at_s: int, sign: Callable[[bytes], bytes]
) -> bytes:
    """The DKIM-Signature field, folded, with its CRLF, to be put in front of `content`.

    `content` is the result of with_crlf; `signed_at_s` is Unix time; `sign` takes the canonical
    header and returns the signature's bytes.
    """
    header, body = split(content)
    picked = _pick(canonical_fields(header))
    names = [name for name, _ in picked] + [OVERSIGNED]
    value = _value(identity, signed_at_s, names, sha256(canonical_body(body)).digest())
    own = b"dkim-signature:" + value.replace(_FOLD, b" ")
    signature = b64encode(sign(b"\r\n".join([*(field for _, field in picked), own])))
    return b"DKIM-Signature: %b%b\r\n" % (value, _FOLD.join(_pieces(signature)))


def _single_spaces(text: bytes) -> bytes:
    """Replace each run of spaces and tabs by one space."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # halves the longest run each time
        text = text.replace(b"  ", b" ")
    return text


def _pick(fields: Sequence[Field]) -> list[Field]:
    """The fields to sign; fields of the same name are in reverse order (RFC 6376, 5.4.2)."""
    found: dict[bytes, list[Field]] = {name: [] for name in SIGNED}
    for field in reversed(fields):
        if field[0] in found:
            found[field[0]].append(field)
    return [field for group in found.values() for field in group]


def _value(identity: Identity, signed_at_s: int, names: list[bytes], body_hash: bytes) -> bytes:
    """The field's value up to and including `b=`."""
    tags = (
        b"v=1;",
        b"a=%b;" % identity.algorithm.encode(),
        b"c=relaxed/relaxed;",
        b"d=%b;" % identity.domain.encode(),
        b"s=%b;" % identity.selector.encode(),
        b"t=%d;" % signed_at_s,
    )
    listed = [b"%b:" % name for name in names]
    listed[-1] = names[-1] + b";"
    listed[0] = b"h=" + listed[0]
    lines = _filled([*tags, *listed, b"bh=%b;" % b64encode(body_hash)])
    return _FOLD.join([*lines, b"b="])


def _filled(words: Iterable[bytes]) -> list[bytes]:
    """Fill lines as far as possible; a space separates words, but not after a colon of h=."""
    lines = []
    line = b""
    room = MAX_LINE_BYTES - len(b"DKIM-Signature: ")
    for word in words:
        if not line:
            line = word
        elif len(line) + 1 + len(word) > room:
            lines.append(line)
            line, room = word, MAX_LINE_BYTES - 1  # the fold's tab
        else:
            line += word if line[-1:] == b":" else b" " + word
    return [*lines, line]


def _pieces(signature: bytes) -> list[bytes]:
    size = MAX_LINE_BYTES - len(b"\tb=")
    return [signature[start : start + size] for start in range(0, len(signature), size)]
