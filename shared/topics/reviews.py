"""The records of mail.control on which bounces count: an operator's review of a provider's window.

Owns: the records, their keys and bytes. Does not own: what follows from a review
(shared/responses/counting/batch.py). Fields are only ever added, with a default.

Reviews are beside the orders on mail.control because that topic is small: the counting process
reads all of them before it counts anything. Their keys begin with PREFIX, which no order has.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from shared.topics.codec import CodecError

PREFIX: Final = b"review/"
MAX_MS: Final = 1 << 53


class ReviewVerdict(StrEnum):
    """Whether the bounces of a window count against their recipients."""

    EXCLUDED = "excluded"  # they never count
    COUNTED = "counted"  # they count although an incident holds them


class Review(Struct, frozen=True, omit_defaults=True):
    """The bounces of a provider that were appended from `from_ms` to before `until_ms`."""

    provider: str  # of the shaping rules, or a recipient domain
    from_ms: int
    until_ms: int
    verdict: ReviewVerdict = ReviewVerdict.EXCLUDED
    status: str = ""  # only this enhanced status; "": all
    active: bool = True  # False: the review was taken back
    author: str = ""
    note: str = ""
    at_ms: int = 0


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Review)


def is_review(key: bytes | None) -> bool:
    """Whether a record of mail.control with this key is a review."""
    return key is not None and key.startswith(PREFIX)


def key_of(review: Review) -> bytes:
    """Return the key: a later review of the same window replaces this one."""
    place = f"{quote(review.provider, safe='')}/{quote(review.status, safe='')}"
    return PREFIX + f"{place}/{review.from_ms}-{review.until_ms}".encode()


def encode_review(review: Review) -> tuple[bytes, bytes]:
    """Return key and value of the record."""
    return key_of(review), _encoder.encode(review)


def decode_review(key: bytes | None, value: bytes) -> Review:
    """Decode a record. Raises CodecError, also if its key is not that of its window."""
    try:
        review = _decoder.decode(value)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"review: {error}") from None
    if not review.provider:
        raise CodecError("review: no provider, which would be all mail")
    if not 0 <= review.from_ms < review.until_ms < MAX_MS:
        raise CodecError(f"review: from {review.from_ms} until {review.until_ms} is no window")
    if key != key_of(review):
        raise CodecError(f"review: the key {key!r} is not that of its window")
    return review
