"""Makes DKIM signatures (RFC 6376, SHA-256). The caller passes a function that signs bytes.

The header is always canonicalised as `relaxed`, the body as `relaxed` or `simple`. All signatures
of a message share the canonical forms and the hash of the body.

Owns: the choice of signed header fields, canonicalisation, the text of the DKIM-Signature field.
Does not own: keys and algorithms (edge/signing/signer.py), dot-stuffing (shared/smtp/content.py).

Guarantees: no content causes an exception; the result is a field if the signing function raises no
exception. The signed bytes are the bytes that a server reads, because `with_crlf` writes the same
line ends as shared/smtp/content.py. That module later changes only dots.

Cost: the body is processed by bytes.replace and hashing only, never line by line.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final

from msgspec import Struct

from services.deliver.core.mime.fields import split, split_fields, unfold

# The signed fields, in the order of the tag h=. Fields that a relay may add or change (Received,
# Return-Path) are left out, as RFC 6376, 5.4.1 requires. RFC 8058, 4 requires List-Unsubscribe and
# List-Unsubscribe-Post. Mailbox providers ignore a Feedback-ID that is not signed.
SIGNED: Final = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"feedback-id",
)
# Fields that mail programs show, or that change how the body is shown. Each field is listed once
# more than it occurs, so that the signature breaks if another such field is added on top (RFC 6376,
# 5.4.2 and 8.15). See docs/decisions/0066-oversigned-headers.md.
OVERSIGNED: Final = SIGNED
# RFC 5322, 2.1.1 allows 78 characters without CRLF. Only a line with a longer domain exceeds
# MAX_LINE_BYTES.
MAX_LINE_BYTES: Final = 76

_FOLD: Final = b"\r\n\t"

Field = tuple[bytes, bytes]  # name in lower case; the canonical `name:value`, without CRLF


class Identity(Struct, frozen=True):
    """The signer: a= (algorithm of the key), d= (domain in lower-case A-labels), s= (selector)."""

    algorithm: str
    domain: str
    selector: str


class BodyForm(StrEnum):
    """The ways to canonicalise a body: `simple` ignores only the empty lines at its end."""

    RELAXED = "relaxed"
    SIMPLE = "simple"


def canonical_body(body: bytes, form: BodyForm = BodyForm.RELAXED) -> bytes:
    """Canonicalise a body: RFC 6376, 3.4.3 and 3.4.4.

    `body` has only CRLF line ends, and ends with CRLF unless it is empty.
    """
    if form is BodyForm.SIMPLE:
        return body.rstrip(b"\r\n") + b"\r\n"
    lines = _single_spaces(body).replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return lines + b"\r\n" if lines else b""


def canonical_fields(header: bytes) -> list[Field]:
    """Canonicalise every field of a header with CRLF line ends, in order: RFC 6376, 3.4.2."""
    fields = []
    for field in split_fields(header):
        name, colon, value = _single_spaces(unfold(field)).partition(b":")
        if colon:
            name = name.rstrip(b" ").lower()
            fields.append((name, b"%b:%b" % (name, value.strip(b" "))))
    return fields


class Signable:
    """A message in canonical form, computed once for all its signatures."""

    def __init__(self, content: bytes, form: BodyForm = BodyForm.RELAXED) -> None:
        """`content` is the result of with_crlf."""
        header, body = split(content)
        picked = _pick(canonical_fields(header))
        self._form = form
        self._fields = [field for _, field in picked]
        self._names = [*(name for name, _ in picked), *OVERSIGNED]
        self._body_hash = sha256(canonical_body(body, form)).digest()

    def signature_field(
        self, identity: Identity, signed_at_s: int, sign: Callable[[bytes], bytes]
    ) -> bytes:
        """Return the folded DKIM-Signature field with its CRLF, to be put in front of the content.

        `signed_at_s` is Unix time. `sign` receives the canonical header and returns the signature
        as bytes.
        """
        value = self._value(identity, signed_at_s)
        own = b"dkim-signature:" + value.replace(_FOLD, b" ")
        signature = b64encode(sign(b"\r\n".join([*self._fields, own])))
        return b"DKIM-Signature: %b%b\r\n" % (value, _FOLD.join(_pieces(signature)))

    def _value(self, identity: Identity, signed_at_s: int) -> bytes:
        """Return the value of the field up to and including `b=`."""
        tags = (
            b"v=1;",
            b"a=%b;" % identity.algorithm.encode(),
            b"c=relaxed/%b;" % self._form.encode(),
            b"d=%b;" % identity.domain.encode(),
            b"s=%b;" % identity.selector.encode(),
            b"t=%d;" % signed_at_s,
        )
        listed = [b"%b:" % name for name in self._names]
        listed[-1] = self._names[-1] + b";"
        listed[0] = b"h=" + listed[0]
        lines = _filled([*tags, *listed, b"bh=%b;" % b64encode(self._body_hash)])
        return _FOLD.join([*lines, b"b="])


def _single_spaces(text: bytes) -> bytes:
    """Replace each run of spaces and tabs by one space."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # each pass halves the longest run
        text = text.replace(b"  ", b" ")
    return text


def _pick(fields: Sequence[Field]) -> list[Field]:
    """Return the fields to sign; fields of one name are in reverse order (RFC 6376, 5.4.2)."""
    found: dict[bytes, list[Field]] = {name: [] for name in SIGNED}
    for field in reversed(fields):
        if field[0] in found:
            found[field[0]].append(field)
    return [field for group in found.values() for field in group]


def _filled(words: Iterable[bytes]) -> list[bytes]:
    """Fill lines with the words. Words are separated by a space, except after a colon of h=."""
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
