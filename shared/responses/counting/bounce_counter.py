"""The bounce counter of one recipient: its shape and its bytes in Redis.

Does not own: counting (validate), the store (shared/store/counters.py).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct


class BounceCounter(Struct, frozen=True, array_like=True, gc=False):
    """The bounces of one recipient of one client: the messages, in the order of counting."""

    hard: tuple[bytes, ...] = ()
    soft: tuple[bytes, ...] = ()
    past: tuple[bytes, ...] = ()
    # The last soft row that a delivery ended: its length, at the end of `past`, and the messages
    # delivered since. If all of these come back too, the row was not ended.
    ended: int = 0
    delivered: tuple[bytes, ...] = ()


NO_BOUNCES: Final = BounceCounter()
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(BounceCounter)


def encode_counter(counter: BounceCounter) -> bytes:
    """Return the bytes of a counter; empty if there is nothing to remember."""
    return b"" if counter == NO_BOUNCES else _encoder.encode(counter)


def decode_counter(value: bytes | None) -> BounceCounter:
    """Return the counter of these bytes. Raises msgspec.DecodeError."""
    return _decoder.decode(value) if value else NO_BOUNCES
