"""What makes two submissions the same one: their key and their content, as short digests. Pure.

The key is (client, `ce_source`, `ce_id`) where the platform gave them, else (client, Message-ID,
recipient). Two submissions of one key and one content are one mail handed in twice; of one key
and two contents, a mistake of the platform. Contents are compared in their normal form.

Keys stored before November 2026 are (client, `ce_id`), and contents as they were given. A claim
names both old forms where they are others (`former`), so that what was handed in before is known
(decision 0035).

Owns: the digests and the record of mail.submissions, in which validate notes each key it has
let pass, so that the keys can be read back after Redis was emptied. Does not own: where the
keys are looked up (shared/store/submissions.py), what follows from a repeated one.

Lengths are chosen so that a key costs under 40 bytes of Redis (decision 0022). 11 bytes of a
key are 88 bits: among 20 million keys, two fall together once in 10^12 windows. 4 bytes of the
content: another content passes for the same once in 4 * 10^9 times. They are a CRC-32C: of so few
bytes no digest keeps out a client that looks for two contents alike, and whom would it deceive?
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
# The first byte of a record of mail.submissions: what follows are claims of CLAIM_BYTES each.
VERSION: Final = 1

_BY_SOURCE: Final = b"s"
_BY_KEY: Final = b"k"
_BY_MESSAGE_ID: Final = b"m"
_TRACE: Final = b"received:"


class Claim(Struct, frozen=True, gc=False):
    """One submission that asks for its key: digests, its mail id, and where it was read.

    `place` tells the same record read again from another one: never 0, which in Redis marks
    a key that the front door has reserved and no record has confirmed yet. `former` holds key and
    content as they were stored before, b"" where neither is another one.
    """

    key: bytes
    mail_id: bytes
    content: bytes
    place: int
    former: bytes = b""


class New(Struct, frozen=True, gc=False):
    """The key was free, or this same record has it."""


class Reserved(Struct, frozen=True, gc=False):
    """The front door reserved the key under this mail id; nobody knows whether it was written."""

    mail_id: bytes


class Duplicate(Struct, frozen=True, gc=False):
    """The same content came before, under this mail id."""

    mail_id: bytes


class Conflict(Struct, frozen=True, gc=False):
    """Another content came before under this key; its mail id."""

    mail_id: bytes


class Withdrawn(Struct, frozen=True, gc=False):
    """The front door told the client that this one is not stored, so it must not go on."""


Answer = New | Reserved | Duplicate | Conflict | Withdrawn
NEW: Final = New()
WITHDRAWN: Final = Withdrawn()


def claim_of(message: Message, place: int) -> Claim:
    """The claim of a message read at `place` (see place_of()); raises CodecError."""
    envelope = message.envelope
    try:
        mail_id = ids.to_bytes(envelope.mail_id)
    except ValueError as error:
        raise CodecError(f"envelope: {error}") from None
    key, normal = key_of(envelope), with_crlf(message.content)
    former_key, content = key, checksum_of(normal)
    former_content = envelope.raw_checksum or content
    if normal is not message.content:  # a record of an older ingest
        former_content = checksum_of(message.content)
    if _has_source(envelope):
        former_key = key_of(replace(envelope, submission_source=""))
    is_other = former_key != key or former_content != content
    former = former_key + former_content if is_other else b""
    return Claim(key, mail_id, content, place, former)


def key_of(envelope: Envelope) -> bytes:
    """The digest of the submission's key."""
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
    """The checksum of the message in its normal form, without the trace fields on its top.

    A relay on the way adds a Received field (RFC 5321, 4.4), another one at each time.
    """
    return checksum_of(with_crlf(content))


def checksum_of(content: bytes) -> bytes:
    """The same of the bytes as they are."""
    return crc32c(content[_trace_end(content) :]).to_bytes(CONTENT_BYTES, "big")


def place_of(partition: int, offset: int, index: int) -> int:
    """Which message this is: the record's partition and offset, and its number in the pack."""
    found = zlib.crc32(b"%d/%d/%d" % (partition, offset, index)) & 0xFF_FFFF
    return found or 1


def encode_claims(claims: Iterable[Claim]) -> bytes:
    """Claims one behind another, CLAIM_BYTES each, as the script takes them."""
    return b"".join(
        [
            claim.key + claim.mail_id + claim.content + claim.place.to_bytes(PLACE_BYTES, "big")
            for claim in claims
        ]
    )


def encode_formers(claims: Sequence[Claim]) -> bytes:
    """Key and content of each claim as they were stored before; b"" where no claim has others."""
    if not any(claim.former for claim in claims):
        return b""
    return b"".join([claim.former or claim.key + claim.content for claim in claims])


def encode_record(claims: Iterable[Claim]) -> bytes:
    """The value of a record of mail.submissions."""
    return bytes((VERSION,)) + encode_claims(claims)


def decode_record(value: bytes | None) -> bytes:
    """The claims of a record, as encode_claims() gave them; raises CodecError."""
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
