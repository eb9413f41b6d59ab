"""The records of mail.control: the orders of operators about mail, and their reviews of bounces.

This module owns the records, their keys and their bytes. It does not own the effect of an order on
a message (services/deliver/core/control), the effect of a review
(shared/responses/counting/batch.py) and traces (traces.py). Fields may only be added, and only with
a default. Golden records in tests/contract check this.

The topic is compacted. The key of an order is its scope, so the last order for a scope replaces
earlier orders for the same scope. An order applies to mail that waits now and to mail that arrives
later. An order ends at its expiry, or when a `resume` for the same scope replaces it. The record of
the `resume` contains the author of the `resume`. There is one exception: a `release` does not
replace a `cancel`, because the author of the `cancel` may know already that the message will not be
sent.

A review decides whether the bounces of a provider in a time window are counted. The counting
process must read all reviews before it counts bounces, so reviews are on this topic, which is
small. The key of a review begins with REVIEW_PREFIX, and the key of an order never begins with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct, structs

from shared.topics.codec import CodecError

# The only partition of mail.control, so that all readers see the records in the same order.
PARTITION: Final = 0
MAX_TEXT_CHARS: Final = 400
MAX_MS: Final = 1 << 53
T = TypeVar("T")
_TARGET: Final = re.compile(r"[^\s:@/]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
REVIEW_PREFIX: Final = b"review/"


class Verb(StrEnum):
    """The effects of orders on the messages of their scopes, from the strongest to the weakest."""

    CANCEL = "cancel"
    BOUNCE = "bounce"
    EXPIRE = "expire"
    SUSPEND = "suspend"
    REROUTE = "reroute"
    RESUME = "resume"
    RELEASE = "release"  # send a message that is held because it is in doubt

    @property
    def is_final(self) -> bool:
        """Return True if the order ends the messages to which it applies."""
        return self in (Verb.CANCEL, Verb.BOUNCE, Verb.EXPIRE)


class Scope(Struct, frozen=True, omit_defaults=True):
    """Selects the messages to which an order applies. A message must match all fields. A field with
    "" matches any value."""

    client: str = ""
    mailing: str = ""  # A mailing ID of the client.
    sub_client: str = ""
    domain: str = ""  # The recipient's domain.
    site: str = ""  # The name of a site, or the name of one of the site's servers.
    provider: str = ""
    lane: str = ""
    mail_id: str = ""

    def given(self) -> tuple[tuple[str, str], ...]:
        """Return the names and values of the fields that are not empty, in the order of the
        fields."""
        return tuple((name, value) for name in FIELDS if (value := getattr(self, name)))

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in self.given())


FIELDS: Final = tuple(field.name for field in structs.fields(Scope))


class Order(Struct, frozen=True, omit_defaults=True):
    """One order: its effect, its scope, its author, its reason and its expiry."""

    verb: Verb
    scope: Scope
    author: str = ""
    reason: str = ""
    at_ms: int = 0
    expires_at_ms: int = 0  # 0 means that the order does not expire.
    target: str = ""  # The host:port of a `reroute`.
    by_removal: bool = False  # True if a removal of the client has caused the order.

    def is_over(self, now_ms: int) -> bool:
        """Return True if the order has no effect any more, because it is a `resume` or has
        expired."""
        return self.verb is Verb.RESUME or 0 < self.expires_at_ms <= now_ms


_json: Final = msgspec.json.Encoder(order="deterministic")
_order_decoder: Final = msgspec.json.Decoder(Order)


def key_of(scope: Scope) -> bytes:
    """Return the key of a scope. A later order with the same key replaces an earlier order."""
    return "&".join(f"{name}={quote(value)}" for name, value in scope.given()).encode()


def apply_record(
    known: dict[bytes, T],
    key: bytes,
    value: bytes | None,
    decode: Callable[[bytes, bytes], T],
    limit: int | None = None,
) -> None:
    """Apply a record to the last records of all keys. A record without a value removes its key.

    Raises CodecError for a record that `decode` cannot read, or for a new key if `limit` keys are
    known.
    """
    if not value:
        known.pop(key, None)
        return
    decoded = decode(key, value)
    if limit is not None and key not in known and len(known) >= limit:
        raise CodecError(f"there are more than {limit} of these")
    if not _outlasts(known.get(key), decoded):
        known[key] = decoded


def _outlasts(earlier: object, later: object) -> bool:
    """Return True for a `cancel` that is followed by a `release`."""
    return (
        isinstance(earlier, Order)
        and isinstance(later, Order)
        and (earlier.verb, later.verb) == (Verb.CANCEL, Verb.RELEASE)
    )


def encode_order(order: Order) -> tuple[bytes, bytes]:
    """Return the key and the value of the record."""
    return key_of(order.scope), _json.encode(order)


def decode_order(key: bytes | None, value: bytes) -> Order:
    """Decode a record. Raises CodecError if the record is not valid, or if its key does not match
    its scope."""
    try:
        order = _order_decoder.decode(value)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"order: {error}") from None
    if not (0 <= order.at_ms < MAX_MS and 0 <= order.expires_at_ms < MAX_MS):
        raise CodecError("order: a time out of range")
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


class ReviewVerdict(StrEnum):
    """The decision whether the bounces in a time window are counted against their recipients."""

    EXCLUDED = "excluded"  # The bounces are never counted.
    COUNTED = "counted"  # The bounces are counted, even if an incident holds them.


class Review(Struct, frozen=True, omit_defaults=True):
    """The decision about a provider's bounces whose append time is at or after `from_ms` and before
    `until_ms`."""

    provider: str  # The name of a provider in the shaping rules, or a recipient domain.
    from_ms: int
    until_ms: int
    verdict: ReviewVerdict = ReviewVerdict.EXCLUDED
    status: str = ""  # If set, the review covers only bounces with this enhanced status.
    active: bool = True  # False if the review was revoked.
    author: str = ""
    note: str = ""
    at_ms: int = 0


_review_decoder: Final = msgspec.json.Decoder(Review)


def is_review(key: bytes | None) -> bool:
    """Return True if a record of mail.control with this key is a review."""
    return key is not None and key.startswith(REVIEW_PREFIX)


def review_key(review: Review) -> bytes:
    """Return the key of a review. A later review with the same key replaces this review."""
    place = f"{quote(review.provider, safe='')}/{quote(review.status, safe='')}"
    return REVIEW_PREFIX + f"{place}/{review.from_ms}-{review.until_ms}".encode()


def encode_review(review: Review) -> tuple[bytes, bytes]:
    """Return the key and the value of the record."""
    return review_key(review), _json.encode(review)


def decode_review(key: bytes | None, value: bytes) -> Review:
    """Decode a record. Raises CodecError if the record is not valid, or if its key does not match
    its window."""
    try:
        review = _review_decoder.decode(value)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"review: {error}") from None
    if not review.provider:
        raise CodecError("review: no provider, which would be all mail")
    if not 0 <= review.from_ms < review.until_ms < MAX_MS:
        raise CodecError(f"review: from {review.from_ms} until {review.until_ms} is no window")
    if key != review_key(review):
        raise CodecError(f"review: the key {key!r} is not that of its window")
    return review
