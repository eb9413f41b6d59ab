"""Identifies duplicate submissions by short digests of their key and their content. This module
does no I/O.

If the platform sent `ce_source` and `ce_id`, the key is (client, `ce_source`, `ce_id`). Otherwise
it is (client, Message-ID, recipient). Two submissions with the same key and the same content are
duplicates. If two submissions have the same key but different contents, the platform has made a
mistake. Contents are compared in their normal form.

Keys that were stored before November 2026 have the old form (client, `ce_id`), and their contents
are the submitted bytes. If the old form of a key or content differs from the present form, a claim
has both forms, and the old form is in `former`. So earlier submissions are recognised (decision
0035).

This module owns the digests and the records of mail.submissions. The validate service stores each
accepted key on this topic, so that the keys can be restored if Redis loses its data. Keys are
looked up in shared/store/submissions.py.

The lengths are chosen so that a key takes less than 40 bytes of Redis memory (decision 0022). The
digest of a key has 11 bytes, which are 88 bits. So among 20 million keys, two keys collide once in
10^12 windows. With a checksum of 4 bytes, two different contents seem equal in one of 4 * 10^9
cases. The checksum is a CRC-32C. A cryptographic digest of 4 bytes would not be safer, because a
client could still find two contents that collide. In this way, a client could harm only itself.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from crc32c import crc32c
from msgspec import Struct
from msgspec.structs import replace

from shared.smtp.content import with_crlf
from shared.topics import ids
from shared.topics.codec import CodecError
from shared.topics.records import Envelope, Message

KEY_BYTES: Final = 11
MAIL_ID_BYTES: Final = 16
CONTENT_BYTES: Final = 4
PLACE_BYTES: Final = 3
FORMER_BYTES: Final = KEY_BYTES + CONTENT_BYTES
CLAIM_BYTES: Final = KEY_BYTES + MAIL_ID_BYTES + CONTENT_BYTES + PLACE_BYTES
# The first byte of a record of mail.submissions. The claims follow this byte. Each claim has
# CLAIM_BYTES bytes.
VERSION: Final = 1

_BY_SOURCE: Final = b"s"
_BY_KEY: Final = b"k"
_BY_MESSAGE_ID: Final = b"m"
_TRACE: Final = b"received:"


class Claim(Struct, frozen=True, gc=False):
    """The claim of a submission to its key: the digests, the mail id, and the position of the
    submission's record.

    `place` shows whether the same record is read again or another record has the same key. `place`
    is never 0, because in Redis, 0 marks a key that the front door has reserved and that no record
    has confirmed yet. `former` has the key and the content in the old form, or is b"" if both have
    the present form.
    """

    key: bytes
    mail_id: bytes
    content: bytes
    place: int
    former: bytes = b""


class New(Struct, frozen=True, gc=False):
    """The key was free, or this record has already claimed it."""


class Reserved(Struct, frozen=True, gc=False):
    """The front door has reserved the key for this mail id. The message may have been written."""

    mail_id: bytes


class Duplicate(Struct, frozen=True, gc=False):
    """An earlier submission, with this mail id, has the same key and the same content."""

    mail_id: bytes


class Conflict(Struct, frozen=True, gc=False):
    """An earlier submission, with this mail id, has the same key but a different content."""

    mail_id: bytes


class Withdrawn(Struct, frozen=True, gc=False):
    """The front door has replied that this message is not stored, so it must not be processed."""


Answer = New | Reserved | Duplicate | Conflict | Withdrawn
NEW: Final = New()
WITHDRAWN: Final = Withdrawn()


def claim_of(message: Message, place: int) -> Claim:
    """Return the claim of a message that was read at `place` (see place_of()). Raises
    CodecError."""
    envelope = message.envelope
    try:
        mail_id = ids.to_bytes(envelope.mail_id)
    except ValueError as error:
        raise CodecError(f"envelope: {error}") from None
    key, normal = key_of(envelope), with_crlf(message.content)
    former_key, content = key, checksum_of(normal)
    former_content = envelope.raw_checksum or content
    if normal is not message.content:  # an earlier version of the ingest service wrote the record
        former_content = checksum_of(message.content)
    if _has_source(envelope):
        former_key = key_of(replace(envelope, submission_source=""))
    is_other = former_key != key or former_content != content
    former = former_key + former_content if is_other else b""
    return Claim(key, mail_id, content, place, former)


def key_of(envelope: Envelope) -> bytes:
    """Return the digest of the submission's key."""
    client = envelope.client.encode()
    if _has_source(envelope):
        source, own = _octets(envelope.submission_source), _octets(envelope.submission_key)
        text = b"\0".join((_BY_SOURCE, client, source, own))
    elif envelope.submission_key:
        text = b"\0".join((_BY_KEY, client, _octets(envelope.submission_key)))
    else:
        own = _octets(envelope.message_id)
        text = b"\0".join((_BY_MESSAGE_ID, client, own, _octets(envelope.recipient)))
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


def content_of(content: bytes) -> bytes:
    """Return the checksum of the message in its normal form, without the trace fields at its
    beginning.

    Trace fields are left out, because a relay adds a Received field (RFC 5321, 4.4), which is
    different each time.
    """
    return checksum_of(with_crlf(content))


def checksum_of(content: bytes) -> bytes:
    """Return the checksum of these bytes without the trace fields at the beginning. The bytes are
    not normalised."""
    return crc32c(content[_trace_end(content) :]).to_bytes(CONTENT_BYTES, "big")


def place_of(partition: int, offset: int, index: int) -> int:
    """Return a digest of the message's position: partition, offset and index in the pack."""
    found = zlib.crc32(b"%d/%d/%d" % (partition, offset, index)) & 0xFF_FFFF
    return found or 1


def encode_claims(claims: Iterable[Claim]) -> bytes:
    """Encode claims for the Redis script, one after another. Each claim has CLAIM_BYTES bytes."""
    return b"".join(
        [
            claim.key + claim.mail_id + claim.content + claim.place.to_bytes(PLACE_BYTES, "big")
            for claim in claims
        ]
    )


def encode_formers(claims: Sequence[Claim]) -> bytes:
    """Encode the key and content of each claim in the old form. Return b"" if no claim has an old
    form."""
    if not any(claim.former for claim in claims):
        return b""
    return b"".join([claim.former or claim.key + claim.content for claim in claims])


def encode_record(claims: Iterable[Claim]) -> bytes:
    """Return the value of a record of mail.submissions."""
    return bytes((VERSION,)) + encode_claims(claims)


def decode_record(value: bytes | None) -> bytes:
    """Return the claims of a record, in the form of encode_claims(). Raises CodecError."""
    if not value or value[0] != VERSION or (len(value) - 1) % CLAIM_BYTES:
        shown = repr(value[:20]) if value else "nothing"
        raise CodecError(f"not a record of submission keys: {shown}")
    return value[1:]


def _has_source(envelope: Envelope) -> bool:
    return bool(envelope.submission_key and envelope.submission_source)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _trace_end(content: bytes) -> int:
    at = 0
    while content[at : at + len(_TRACE)].lower() == _TRACE:
        end = content.find(b"\n", at)
        while end >= 0 and content[end + 1 : end + 2] in {b" ", b"\t"}:
            end = content.find(b"\n", end + 1)
        if end < 0:
            return at
        at = end + 1
    return at
