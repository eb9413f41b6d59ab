"""The records of mail.reputation: the warm-up of sources, the counts of clients, and the offsets in
mail.events.

This module owns the records, their keys and their bytes. It does not own the counting and its
effects (services/deliver/core/reputation). Fields may only be added, and only with a default.

The topic is compacted and has one partition. At any time, only one process of the deliver service
writes to the topic. Each transaction of this process includes the offsets in mail.events up to
which all events are counted. So no counts are lost if the process ends or if Redis loses its data.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from shared.topics.codec import CodecError

PARTITION: Final = 0
PLACE_KEY: Final = b"place"
_WARMUP: Final = b"warmup/"
_CLIENT: Final = b"client/"
MAX_MS: Final = 1 << 53
# A slot has SLOT_MS milliseconds. If a list has more than MAX_SLOTS slots, another program has
# written it.
SLOT_MS: Final = 900_000
MAX_SLOTS: Final = 200


class WarmupState(Struct, frozen=True):
    """The warm-up step of a source at a provider, the beginning of the step, and the results in
    this step.

    If `since_ms` is 0, nothing was sent in this step yet. If `step` is after the last step, the
    source is warm.
    """

    source: str
    provider: str  # the name of a provider in the shaping rules, or `other`
    step: int = 0
    since_ms: int = 0
    delivered: int = 0
    failed: int = 0


class Slot(Struct, frozen=True, array_like=True, gc=False):
    """The results of mail in the slot that begins at `number` * SLOT_MS."""

    number: int
    delivered: int = 0
    bounced: int = 0
    complained: int = 0
    blocked: int = 0


class ClientState(Struct, frozen=True):
    """The counts of a client at a provider, by slot. The oldest slot is first."""

    client: str
    provider: str
    mail_class: str = ""
    slots: tuple[Slot, ...] = ()
    # The time of the suspension that earlier counts caused, or 0 if there was no suspension.
    suspended_ms: int = 0


class Place(Struct, frozen=True):
    """The next offset to count, for each partition of mail.events."""

    log: str  # the topic id of mail.events
    offsets: dict[str, int] = {}
    at_ms: int = 0


State = WarmupState | ClientState | Place
_encoder: Final = msgspec.json.Encoder()
_warmup: Final = msgspec.json.Decoder(WarmupState)
_client: Final = msgspec.json.Decoder(ClientState)
_place: Final = msgspec.json.Decoder(Place)


def key_of(state: State) -> bytes:
    """Return the key of the record for a state."""
    match state:
        case WarmupState(source, provider):
            return _WARMUP + _named(source, provider)
        case ClientState(client, provider):
            return _CLIENT + _named(client, provider)
        case Place():
            return PLACE_KEY


def _named(first: str, second: str) -> bytes:
    return f"{quote(first, safe='')}/{quote(second, safe='')}".encode()


def encode_state(state: State) -> tuple[bytes, bytes]:
    """Return the key and the value of the record."""
    return key_of(state), _encoder.encode(state)


def decode_state(key: bytes | None, value: bytes) -> State | None:
    """Decode a record. Return None if a later version wrote the record. Raises CodecError."""
    try:
        found = _decode(key or b"", value)
    except (ValueError, RecursionError) as error:  # raised by msgspec
        raise CodecError(f"reputation: {error}") from None
    if found is None:
        return None
    if key != key_of(found):
        raise CodecError(f"reputation: the key {key!r} is not that of its record")
    if fault := _fault(found):
        raise CodecError(f"reputation: {fault}")
    return found


def _decode(key: bytes, value: bytes) -> State | None:
    if key == PLACE_KEY:
        return _place.decode(value)
    if key.startswith(_WARMUP):
        return _warmup.decode(value)
    return _client.decode(value) if key.startswith(_CLIENT) else None


def _fault(state: State) -> str:
    match state:
        case WarmupState(step=step, since_ms=since_ms, delivered=delivered, failed=failed):
            numbers: tuple[int, ...] = (step, since_ms, delivered, failed)
        case ClientState(slots=slots, suspended_ms=suspended_ms):
            if len(slots) > MAX_SLOTS:
                return f"{len(slots)} slots, expected at most {MAX_SLOTS}"
            numbers = (suspended_ms, *(each for slot in slots for each in _counts(slot)))
        case Place(offsets=offsets, at_ms=at_ms):
            if not all(each.isdecimal() for each in offsets):
                return "a partition that is not a number"
            numbers = (at_ms, *offsets.values())
    return "" if all(0 <= each < MAX_MS for each in numbers) else "a number out of range"


def _counts(slot: Slot) -> tuple[int, ...]:
    return slot.number, slot.delivered, slot.bounced, slot.complained, slot.blocked
