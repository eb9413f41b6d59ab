"""The ledger of one partition: which messages were handed out and which are settled.

A pool finishes messages out of order, and one record holds a pack of messages. The ledger
provides the contents of a commit: the lowest offset that is not completely settled (the low-water
mark) and, in the commit's metadata, the messages settled at and above it. After a crash the
successor reads from the low-water mark and skips the messages that the metadata names; only
messages that were in flight are handed out again.

Metadata: base85 of: version byte; varint of the number of offsets in the dense part; one bit
per offset from the low-water mark on (set: completely settled; offsets without a record, such
as transaction markers, count as settled); then for each partly settled record: varint of
its distance from the low-water mark, varint of its count, its bits. The broker accepts at most
4,096 characters (`offset.metadata.max.bytes`), so MAX_WINDOW_OFFSETS and MAX_OPEN_PACKS
limit what may be handed out, and the reader pauses when full() is true: nothing is ever cut off.

Owns nothing but numbers: no Kafka, no clock, no thread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

# 8,192 offsets take 1,024 bytes; 64 partly settled packs take at most 64 * 12 bytes. Together
# less than 1,850 bytes, or 2,320 characters of base85, well below the broker's 4,096.
MAX_WINDOW_OFFSETS: Final = 8_192
MAX_OPEN_PACKS: Final = 64
_VERSION: Final = 1


class Settled(Struct, frozen=True):
    """Decoded metadata of a commit: completely settled offsets; (count, bits) of partial packs."""

    whole: frozenset[int] = frozenset()
    partial: dict[int, tuple[int, int]] = {}


NOTHING_SETTLED: Final = Settled()


class MetadataError(ValueError):
    """A commit's metadata could not be decoded."""


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
    """Decode the text of PartitionLedger.metadata(); "" means that nothing is settled.

    Raises MetadataError if the text is not valid metadata.
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
    """A record handed out and not completely settled: its message count and settled bits."""

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
        """The offset after the last record added, where reading continues."""
        return self._next

    def add(self, offset: int, count: int) -> Sequence[int]:
        """Add a record of `count` messages; return the indexes of those still to hand out.

        Records come in the order of their offsets; gaps (markers, aborted records) are allowed.
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
        """Mark one message as settled; return False if it was not in flight (settled before)."""
        if not self.is_open(offset, index):
            return False
        entry = self._open[offset]
        entry.bits |= 1 << index
        entry.left -= 1
        self.in_flight -= 1
        if not entry.left:
            del self._open[offset]
            self._open_packs -= entry.count > 1
        return True

    def is_open(self, offset: int, index: int) -> bool:
        """Whether this message is in flight."""
        entry = self._open.get(offset)
        return entry is not None and index < entry.count and not entry.bits >> index & 1

    def low_water(self) -> int:
        """Return the lowest offset that is not completely settled: the offset to commit."""
        # Dictionaries keep insertion order, and offsets are added in ascending order.
        self._low = next(iter(self._open), self._next)
        return self._low

    def full(self) -> bool:
        """Whether reading must pause so that the metadata still fits into a commit."""
        return not self.room() or self._open_packs >= MAX_OPEN_PACKS

    def is_crowded(self) -> bool:
        """Whether it is half full."""
        return self.room() < MAX_WINDOW_OFFSETS / 2 or self._open_packs >= MAX_OPEN_PACKS / 2

    def room(self) -> int:
        """How many more records of one message may be added until full()."""
        return max(0, MAX_WINDOW_OFFSETS - (self._next - self.low_water()))

    def metadata(self) -> str:
        """Return the commit's metadata for low_water(); "" if nothing above it is settled."""
        low = self.low_water()
        bits = (1 << (self._next - low)) - 1
        partial = bytearray()
        for offset, entry in self._open.items():
            bits &= ~(1 << (offset - low))
            if entry.bits:
                _put_partial(partial, offset - low, entry.count, entry.bits)
        # Messages that the predecessor settled and this ledger has not read yet stay settled.
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
