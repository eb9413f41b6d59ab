"""The ledger of one partition: which messages were handed out and which are settled.

A pool finishes messages out of order, and one record holds a pack of them. The ledger
yields what a commit may say: the lowest offset not yet wholly settled (the low-water mark)
and, in the commit's metadata, what is settled at and above it. After a crash the successor
reads from the low-water mark and skips what the metadata names; only what was really in
flight is handed out again.

Metadata: base85 of: version byte; varint of the number of offsets in the dense part; one bit
an offset from the low-water mark on (set: settled whole; offsets that hold no record, such
as transaction markers, count as settled); then for each record settled in part: varint of
its distance from the low-water mark, varint of its count, its bits. The broker takes 4,096
characters at most (`offset.metadata.max.bytes`), so MAX_WINDOW_OFFSETS and MAX_OPEN_PACKS
bound what may be handed out, and full() tells the reader to pause: nothing is ever cut.

Owns nothing but numbers: no Kafka, no clock, no thread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

# 8,192 offsets are 1,024 bytes; 64 packs settled in part at most 64 * 12 bytes. Together
# below 1,850 bytes, which is 2,320 characters of base85, well under the broker's 4,096.
MAX_WINDOW_OFFSETS: Final = 8_192
MAX_OPEN_PACKS: Final = 64
_VERSION: Final = 1


class Settled(Struct, frozen=True):
    """What a commit's metadata says: offsets settled whole; of packs in part (count, bits)."""

    whole: frozenset[int] = frozenset()
    partial: dict[int, tuple[int, int]] = {}


NOTHING_SETTLED: Final = Settled()


class MetadataError(ValueError):
    """A commit's metadata could not be read."""


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append((value & 127) | 128)
        value >>= 7
    out.append(value)


def _put_partial(out: bytearray, distance: int, count: int, bits: int) -> None:
    _put_varint(out, distance)
    _put_varint(out, count)
    out += bits.to_bytes((count + 7) // 8, "little")


def _take_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise MetadataError("cut short")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def decode_metadata(text: str, low_water: int) -> Settled:
    """Read what PartitionLedger.metadata() wrote; "" is nothing settled.

    Raises MetadataError when the text is no such thing.
    """
    if not text:
        return Settled()
    try:
        data = base64.b85decode(text)
    except (ValueError, binascii.Error) as error:
        raise MetadataError(str(error)) from None
    if not data or data[0] != _VERSION:
        raise MetadataError("unknown version")
    length, at = _take_varint(data, 1)
    size = (length + 7) // 8
    if at + size > len(data):
        raise MetadataError("cut short")
    bits = int.from_bytes(data[at : at + size], "little")
    at += size
    whole = frozenset(low_water + index for index in range(length) if bits >> index & 1)
    partial: dict[int, tuple[int, int]] = {}
    while at < len(data):
        distance, at = _take_varint(data, at)
        count, at = _take_varint(data, at)
        size = (count + 7) // 8
        if at + size > len(data):
            raise MetadataError("cut short")
        partial[low_water + distance] = (count, int.from_bytes(data[at : at + size], "little"))
        at += size
    return Settled(whole, partial)


class _Open(Struct):
    """A record handed out and not yet wholly settled: its count and its settled bits."""

    count: int
    bits: int
    left: int


class PartitionLedger:
    """Handed-out and settled messages of one partition, from its committed offset on."""

    def __init__(self, committed: int, settled: Settled = NOTHING_SETTLED) -> None:
        self._low = committed
        self._next = committed
        self._open: dict[int, _Open] = {}
        self._open_packs = 0
        self._known = settled
        self.in_flight = 0

    @property
    def next_offset(self) -> int:
        """The offset after the last record added: where reading goes on."""
        return self._next

    def add(self, offset: int, count: int) -> Sequence[int]:
        """Note a record of `count` messages as read; returns the indexes still to hand out.

        Records come in the order of their offsets; a gap (markers, aborted records) is fine.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} was added before (next is {self._next})")
        self._next = offset + 1
        known = self._known
        if known.whole and offset in known.whole:
            return ()
        bits = known.partial.get(offset, (0, 0))[1] & ((1 << count) - 1)
        todo = range(count) if not bits else [i for i in range(count) if not bits >> i & 1]
        if todo:
            self._open[offset] = _Open(count, bits, len(todo))
            self._open_packs += count > 1
            self.in_flight += len(todo)
        return todo

    def settle(self, offset: int, index: int) -> bool:
        """Note one message as settled; False when it was not in flight (settled before)."""
        entry = self._open.get(offset)
        if entry is None or index >= entry.count or entry.bits >> index & 1:
            return False
        entry.bits |= 1 << index
        entry.left -= 1
        self.in_flight -= 1
        if not entry.left:
            del self._open[offset]
            self._open_packs -= entry.count > 1
        return True

    def low_water(self) -> int:
        """The lowest offset not wholly settled: what a commit names."""
        # Dictionaries keep insertion order and offsets are added in rising order.
        self._low = next(iter(self._open), self._next)
        return self._low

    def full(self) -> bool:
        """Whether reading must pause so that the metadata keeps fitting into a commit."""
        return (
            self._next - self.low_water() >= MAX_WINDOW_OFFSETS
            or self._open_packs >= MAX_OPEN_PACKS
        )

    def metadata(self) -> str:
        """The commit's metadata for low_water(); "" when nothing above it is settled."""
        low = self.low_water()
        bits = (1 << (self._next - low)) - 1
        partial = bytearray()
        for offset, entry in self._open.items():
            bits &= ~(1 << (offset - low))
            if entry.bits:
                _put_partial(partial, offset - low, entry.count, entry.bits)
        # What the predecessor had settled and this one has not read again yet stays settled.
        for offset in self._known.whole:
            if offset >= self._next:
                bits |= 1 << (offset - low)
        for offset, (count, settled) in sorted(self._known.partial.items()):
            if offset >= self._next:
                _put_partial(partial, offset - low, count, settled)
        if not bits and not partial:
            return ""
        dense = bits.bit_length()
        out = bytearray([_VERSION])
        _put_varint(out, dense)
        out += bits.to_bytes((dense + 7) // 8, "little")
        return base64.b85encode(bytes(out + partial)).decode()
