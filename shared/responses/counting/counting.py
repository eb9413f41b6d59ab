"""Counts the bounces of a recipient, and decides when mail to the recipient ends.

A counter contains the messages that it has counted, so a message is counted only once, even if
several reports about it arrive. Hard bounces stay in the counter until a reset. Consecutive soft
bounces form a row. A delivery ends the row and moves the row's messages to `past`, so that a late
report cannot count these messages again. If a message has a soft bounce and then a hard bounce, it
is counted as a hard bounce.

A server may accept a message and return it later. Such a message was not delivered. If all messages
delivered since the last soft bounce are returned, the row continues as if they had not been
delivered.

This module owns these rules, the form of a counter, and the encoding of a counter in Redis. It does
not own the store (shared/store/counters.py). This module does no I/O.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shared.responses.counting.facts import Fact, FactKind
from shared.topics.suppressions import Suppression, SuppressionReason

# The highest possible limit of a client is 1,000 bounces.
MAX_COUNTED: Final = 1_000
MAX_PAST: Final = 16
# After more deliveries than this number, a row cannot continue, even if all delivered messages are
# returned.
MAX_DELIVERED: Final = 16


class BounceCounter(Struct, frozen=True, array_like=True, gc=False):
    """The bounces of one recipient of one client: hashes of messages, in the order of counting."""

    hard: tuple[bytes, ...] = ()
    soft: tuple[bytes, ...] = ()
    past: tuple[bytes, ...] = ()
    # `ended` is the length of the last row that a delivery ended. The messages of this row are at
    # the end of `past`. `delivered` are the messages that were delivered after this row. If all
    # delivered messages are returned, the row continues.
    ended: int = 0
    delivered: tuple[bytes, ...] = ()


NO_BOUNCES: Final = BounceCounter()
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(BounceCounter)


def encode_counter(counter: BounceCounter) -> bytes:
    """Return the bytes of a counter. Return b"" for an empty counter."""
    return b"" if counter == NO_BOUNCES else _encoder.encode(counter)


def decode_counter(value: bytes | None) -> BounceCounter:
    """Return the counter of these bytes. Raises msgspec.DecodeError."""
    return _decoder.decode(value) if value else NO_BOUNCES


class Limits(Struct, frozen=True):
    """A client's limits: the number of hard bounces, and the number of soft bounces in a row."""

    hard: int
    soft: int


def advance(counter: BounceCounter, fact: Fact) -> BounceCounter:
    """Return the counter after this fact. Return `counter` if the fact changes nothing."""
    match fact.kind:
        case FactKind.HARD:
            return _add_hard(counter, fact.mail)
        case FactKind.SOFT:
            return _add_soft(counter, fact.mail)
        case FactKind.DELIVERED if counter.soft or counter.delivered:
            return _add_delivery(counter, fact.mail)
        case _:
            return counter


def _add_hard(counter: BounceCounter, mail: bytes) -> BounceCounter:
    if mail in counter.hard:
        return counter
    soft = tuple(each for each in counter.soft if each != mail)
    hard = (*counter.hard, mail)[-MAX_COUNTED:]
    return _without_delivery(replace(counter, hard=hard, soft=soft), mail)


def _add_soft(counter: BounceCounter, mail: bytes) -> BounceCounter:
    if mail in counter.hard or mail in counter.soft or mail in counter.past:
        return counter
    if mail in counter.delivered:
        # The message was counted as delivered. The message's bounce belongs to the row that the
        # delivery seemed to end, not to a later row.
        past = (*counter.past, mail)[-MAX_PAST:]
        longer = replace(counter, past=past, ended=min(counter.ended + 1, len(past)))
        return _without_delivery(longer, mail)
    return replace(counter, soft=(*counter.soft, mail)[-MAX_COUNTED:])


def _add_delivery(counter: BounceCounter, mail: bytes) -> BounceCounter:
    if mail in counter.soft or mail in counter.hard or mail in counter.past:
        return counter  # The message's bounce was read before its delivery.
    if counter.soft:
        past = (counter.past + counter.soft)[-MAX_PAST:]
        ended = min(len(counter.soft), len(past))
        return replace(counter, soft=(), past=past, ended=ended, delivered=(mail,))
    if not counter.delivered or mail in counter.delivered:
        return counter
    if len(counter.delivered) == MAX_DELIVERED:
        return replace(counter, ended=0, delivered=())
    return replace(counter, delivered=(*counter.delivered, mail))


def _without_delivery(counter: BounceCounter, mail: bytes) -> BounceCounter:
    """Remove a delivery. If no delivery is left after the ended row, the row continues."""
    if mail not in counter.delivered:
        return counter
    left = tuple(each for each in counter.delivered if each != mail)
    if left:
        return replace(counter, delivered=left)
    at = len(counter.past) - counter.ended
    soft = (counter.past[at:] + counter.soft)[-MAX_COUNTED:]
    return replace(counter, soft=soft, past=counter.past[:at], ended=0, delivered=())


def entry_after(
    before: BounceCounter, after: BounceCounter, fact: Fact, limits: Limits, at_ms: int
) -> Suppression | None:
    """Return the suppression entry to which this fact leads. Return None if it leads to no entry.

    When a counter has reached its limit, every further bounce leads to an entry. So an entry that
    was removed without a reset of the counter is written again.
    """
    match fact.kind:
        case FactKind.COMPLAINED:
            reason, count = SuppressionReason.COMPLAINT, 0
        case FactKind.UNSUBSCRIBED:
            reason, count = SuppressionReason.UNSUBSCRIBED, 0
        case FactKind.HARD if after != before and len(after.hard) >= limits.hard:
            reason, count = SuppressionReason.HARD_BOUNCES, len(after.hard)
        case FactKind.SOFT if after != before and len(after.soft) >= limits.soft:
            reason, count = SuppressionReason.SOFT_BOUNCES, len(after.soft)
        case _:
            return None
    return Suppression(
        client=fact.client,
        reason=reason,
        recipient=fact.recipient,
        at_ms=at_ms,
        author="sluice",
        mail_id=fact.mail_id,
        count=count,
    )
