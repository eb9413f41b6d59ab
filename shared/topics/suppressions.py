"""The records of mail.suppressions: recipients who get no mail, and resets of bounce counters.

This module owns the records, their keys and their bytes, and the field that an entry has in the
Redis view. It does not own the view itself (shared/store/suppressions.py), the counting of bounces
in the validate service, and the block lists of the registry. Fields of records may only be added,
and only with a default. Golden records in tests/contract check this.

The topic is compacted. The key has the client, the reason and the recipient, so entries with
different reasons never replace each other. For example, if a recipient has a manual entry and a
complaint, the complaint still applies after the manual entry was removed. An entry is removed by a
record whose `active` is False, and not by a record without a value. So the author and the reason of
the removal are kept on the topic, and a view that was not updated for a long time cannot miss the
removal.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared.topics.codec import CodecError

# The only partition of mail.suppressions, so that all readers see the records in the same order.
PARTITION: Final = 0
FIELD_BYTES: Final = 16


class SuppressionReason(StrEnum):
    """The reason why a recipient gets no mail.

    The strongest reason is the first. If several reasons apply to a recipient, the strongest reason
    is reported. The order also determines the bits of the view, so new reasons may be added only at
    the end.
    """

    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"
    MANUAL = "manual"
    IMPORTED = "imported"
    HARD_BOUNCES = "hard_bounces"
    SOFT_BOUNCES = "soft_bounces"


# The word for the reason that a recipient is on a block list. Block lists are in the registry, not
# on this topic.
BLOCKED: Final = "blocked"
REASONS: Final = tuple(SuppressionReason)
# The keys are texts, because the hash of an enum member takes longer than the rest of a look-up.
_BITS: Final = {reason.value: 1 << place for place, reason in enumerate(REASONS)}
BY_COUNTER: Final = frozenset({SuppressionReason.HARD_BOUNCES, SuppressionReason.SOFT_BOUNCES})


class RecipientForm(StrEnum):
    """The form of the recipient in an entry.

    A hash is computed from the comparison form and written in hexadecimal.
    """

    ADDRESS = "address"
    SHA256 = "sha256"
    MD5 = "md5"


# This constant saves 0.1 µs per use, because Python looks an enum member up each time.
_ADDRESS: Final = RecipientForm.ADDRESS


class Suppression(Struct, frozen=True, omit_defaults=True, tag="suppression"):
    """One entry: this recipient gets no mail from this client, because of this reason."""

    client: str
    reason: SuppressionReason
    recipient: str  # In the comparison form (shared/mail/address.py), or as a hash of this form.
    form: RecipientForm = RecipientForm.ADDRESS
    active: bool = True  # False if the entry was removed.
    at_ms: int = 0
    author: str = ""
    note: str = ""  # The reason that the author gave, or the source of the entry.
    mail_id: str = ""  # The message whose bounce reached the limit.
    count: int = 0  # The value of the counter that reached the limit.


class CounterReset(Struct, frozen=True, omit_defaults=True, tag="reset"):
    """A reset: earlier bounces of this recipient are not counted any more."""

    client: str
    recipient: str  # in the comparison form
    at_ms: int = 0
    author: str = ""
    note: str = ""


SuppressionRecord = Suppression | CounterReset

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final[msgspec.json.Decoder[SuppressionRecord]] = msgspec.json.Decoder(
    Suppression | CounterReset
)


def key_of(record: SuppressionRecord) -> bytes:
    """Return the key of the record. A later record with the same key replaces this record."""
    match record:
        case Suppression():
            named = f"{record.reason}/{record.form}:{record.recipient}"
        case CounterReset():
            named = f"reset/{record.recipient}"
    return f"{record.client}/{named}".encode()


def encode_suppression(record: SuppressionRecord) -> tuple[bytes, bytes]:
    """Return the key and the value of the record."""
    return key_of(record), _encoder.encode(record)


def decode_suppression(value: bytes | None) -> SuppressionRecord:
    """Decode the value of a record. Raises CodecError."""
    try:
        return _decoder.decode(value or b"")
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"suppression: {error}") from None


def field_of(client: str, recipient: str, form: RecipientForm = RecipientForm.ADDRESS) -> bytes:
    """Return the field of this entry in the view. `recipient` has the same form as in Suppression.

    An address and its SHA-256 hash have the same field, so only MD5 entries need a second look-up.
    """
    if form is _ADDRESS:  # every event that is counted has this form
        named = b"a" + hashlib.sha256(recipient.encode()).digest()
    elif form is RecipientForm.SHA256:
        named = b"a" + bytes.fromhex(recipient)
    else:
        named = b"m" + bytes.fromhex(recipient)
    return hashlib.blake2b(client.encode() + b"/" + named, digest_size=FIELD_BYTES).digest()


def fields_of(client: str, address: str) -> bytes:
    """Return both fields of an address, one after the other. The address must be in the comparison
    form."""
    raw = address.encode()
    prefix = client.encode() + b"/"
    whole = hashlib.blake2b(
        prefix + b"a" + hashlib.sha256(raw).digest(), digest_size=FIELD_BYTES
    ).digest()
    legacy = hashlib.md5(raw, usedforsecurity=False).digest()
    return whole + hashlib.blake2b(prefix + b"m" + legacy, digest_size=FIELD_BYTES).digest()


def bit_of(reason: SuppressionReason) -> int:
    """Return the bit of this reason in the view."""
    return _BITS[reason._value_]


def strongest(bits: int) -> SuppressionReason | None:
    """Return the strongest reason among these bits. Return None if no bit is set."""
    return next((reason for place, reason in enumerate(REASONS) if bits >> place & 1), None)
