"""The records of mail.control: operators' orders on mail that waits, and on mail still to come.

Owns: the records, their keys and bytes. Does not own: what an order does to a message
(services/deliver/core/control). Fields are only ever added, with a default; golden records in
tests/contract check that.

The topic is compacted and its key is the scope, so the last order on a scope replaces those before
it. An order ends by itself at its expiry; `resume` ends it earlier and leaves its author on record.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct, structs

from shared.topics.codec import CodecError

# The partition of mail.control: all readers see the same order.
PARTITION: Final = 0
MAX_TEXT_CHARS: Final = 400
MAX_MS: Final = 1 << 53
_TARGET: Final = re.compile(r"[^\s:@/]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")


class Verb(StrEnum):
    """What is done to the messages of a scope, the strongest first."""

    CANCEL = "cancel"
    BOUNCE = "bounce"
    EXPIRE = "expire"
    SUSPEND = "suspend"
    REROUTE = "reroute"
    RESUME = "resume"
    RELEASE = "release"  # a message that is held because a server may have it is sent

    @property
    def is_final(self) -> bool:
        """Whether it ends the messages that it concerns."""
        return self in (Verb.CANCEL, Verb.BOUNCE, Verb.EXPIRE)


class Scope(Struct, frozen=True, omit_defaults=True):
    """The messages that an order concerns: those that have all the values given ("": any)."""

    client: str = ""
    mailing: str = ""  # a mailing ID of the client
    sub_client: str = ""
    domain: str = ""  # of the recipient
    site: str = ""  # the name of a site, or of one of its servers
    provider: str = ""
    lane: str = ""
    mail_id: str = ""

    def given(self) -> tuple[tuple[str, str], ...]:
        """The names and values that are given, in the order of the fields."""
        return tuple((name, value) for name in FIELDS if (value := getattr(self, name)))

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in self.given())


FIELDS: Final = tuple(field.name for field in structs.fields(Scope))


class Order(Struct, frozen=True, omit_defaults=True):
    """One order: what to do with the messages of a scope, who wants it, why and until when."""

    verb: Verb
    scope: Scope
    author: str = ""
    reason: str = ""
    at_ms: int = 0
    expires_at_ms: int = 0  # 0: it does not end by itself
    target: str = ""  # of reroute: host:port
    by_removal: bool = False  # given by the removal of the client, and ends with it

    def is_over(self, now_ms: int) -> bool:
        """Whether the order does nothing any more."""
        return self.verb is Verb.RESUME or 0 < self.expires_at_ms <= now_ms


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Order)


def key_of(scope: Scope) -> bytes:
    """Return the key of a scope: a later order with this key replaces the one before it."""
    return "&".join(f"{name}={quote(value)}" for name, value in scope.given()).encode()


def encode_order(order: Order) -> tuple[bytes, bytes]:
    """Return key and value of the record."""
    return key_of(order.scope), _encoder.encode(order)


def decode_order(key: bytes | None, value: bytes) -> Order:
    """Decode a record. Raises CodecError, also if its key is not that of its scope."""
    try:
        order = _decoder.decode(value)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"order: {error}") from None
    if not (0 <= order.at_ms < MAX_MS and 0 <= order.expires_at_ms < MAX_MS):
        raise CodecError("order: a time that is none")
    if not order.scope.given():
        raise CodecError("order: its scope is empty, which would be all mail")
    if key != key_of(order.scope):
        raise CodecError(f"order: the key {key!r} is not that of its scope")
    if order.verb is Verb.RELEASE and order.scope != Scope(mail_id=order.scope.mail_id):
        raise CodecError("order: release concerns one message, named by its mail id")
    if (order.verb is Verb.REROUTE) != bool(order.target):
        raise CodecError(f"order: {order.verb} with the target {order.target!r}")
    if order.target and _TARGET.fullmatch(order.target) is None:
        raise CodecError(f"order: the target {order.target[:100]!r} is not host:port")
    return order
