"""Stores which messages of one partition were handed out, and which of them are settled.

Messages are finished out of order, and one record contains a pack of messages. The ledger provides
the contents of a commit: the lowest offset that is not completely settled (the low-water mark) and,
in the commit's metadata, the settled messages from this offset on. After a crash, the next process
reads from the low-water mark and skips the messages that the metadata list as settled. So only
messages that were in flight are handed out again. The metadata also list the messages in flight
that were offered to a server, because their outcome is in doubt (decision 0158).

The metadata are these bytes in base85: the version byte; the number of bits in the dense part, as a
varint; the dense part, one bit per offset from the low-water mark on; the partly settled records. A
set bit means that the offset is completely settled or has no record (a transaction marker). A
partly settled record consists of its distance from the low-water mark and its message count, both
as varints, and its bits. Version 2 is written while messages are offered. It adds the number of the
partly settled records before them, and the offered messages after them, in the same form. For the
offered messages, a set bit in the dense part means that only the first message of the record is
offered. The broker accepts at most 4,096 characters (`offset.metadata.max.bytes`). So
MAX_WINDOW_OFFSETS and MAX_OPEN_PACKS limit the messages in flight, and the reader pauses when
full() is true.

offer() only sets a bit, so any thread may call it. All other methods must be called in one thread.
The ledger contains only numbers: it uses no Kafka, no clock and no thread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

# 7,168 offsets take 896 bytes; 64 packs of at most 64 messages take 64 * 11 bytes. Offered messages
# double this size to less than 3,215 bytes, or 4,020 characters of base85.
MAX_WINDOW_OFFSETS: Final = 7_168
MAX_OPEN_PACKS: Final = 64
_VERSION: Final = 1
_VERSION_OFFERED: Final = 2


class Settled(Struct, frozen=True):
    """Decoded metadata of a commit.

    `whole` has the settled offsets. `partial` has (count, settled bits) of partly settled packs.
    `offered` has the bits of unsettled messages that were offered to a server.
    """

    whole: frozenset[int] = frozenset()
    partial: dict[int, tuple[int, int]] = {}
    offered: dict[int, int] = {}


NOTHING_SETTLED: Final = Settled()


class MetadataError(ValueError):
    """A commit's metadata could not be decoded."""


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append((value & 127) | 128)
        value >>= 7
    out.append(value)


def _put_dense(out: bytearray, bits: int) -> None:
    length = bits.bit_length()
    _put_varint(out, length)
    out += bits.to_bytes((length + 7) // 8, "little")


def _put_partial(out: bytearray, distance: int, count: int, bits: int) -> None:
    _put_varint(out, distance)
    _put_varint(out, count)
    out += bits.to_bytes((count + 7) // 8, "little")


class _Input:
    """Reads bytes in order. Every method raises MetadataError if the bytes end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def has_more(self) -> bool:
        return self._at < len(self._data)

    def varint(self) -> int:
        value = shift = 0
        while True:
            if not self.has_more() or shift > 63:
                raise MetadataError("cut short")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def bits(self, count: int) -> int:
        end = self._at + (count + 7) // 8
        if end > len(self._data):
            raise MetadataError("cut short")
        found = int.from_bytes(self._data[self._at : end], "little")
        self._at = end
        return found

    def dense(self, low_water: int) -> list[int]:
        length = self.varint()
        bits = self.bits(length)
        return [low_water + index for index in range(length) if bits >> index & 1]

    def partial(self, low_water: int) -> tuple[int, int, int]:
        offset, count = low_water + self.varint(), self.varint()
        return offset, count, self.bits(count)


def decode_metadata(text: str, low_water: int) -> Settled:
    """Decode the text of PartitionLedger.metadata(). "" means that nothing is settled.

    Raises MetadataError if the text is not valid metadata.
    """
    if not text:
        return Settled()
    try:
        data = base64.b85decode(text)
    except (ValueError, binascii.Error) as error:
        raise MetadataError(str(error)) from None
    if not data or data[0] not in (_VERSION, _VERSION_OFFERED):
        raise MetadataError("unknown version")
    read = _Input(data[1:])
    whole = frozenset(read.dense(low_water))
    partial: dict[int, tuple[int, int]] = {}
    offered: dict[int, int] = {}
    left = read.varint() if data[0] == _VERSION_OFFERED else len(data)
    while left and read.has_more():
        offset, count, bits = read.partial(low_water)
        partial[offset] = (count, bits)
        left -= 1
    if data[0] == _VERSION_OFFERED:
        offered = dict.fromkeys(read.dense(low_water), 1)
    while read.has_more():
        offset, _, bits = read.partial(low_water)
        offered[offset] = bits
    return Settled(whole, partial, offered)


class _Open(Struct):
    """A record that is not completely settled. `bits` and `offered` have one bit per message."""

    count: int
    bits: int
    left: int
    offered: int = 0


class PartitionLedger:
    """The handed-out and settled messages of one partition, from its committed offset on."""

    def __init__(self, committed: int, settled: Settled = NOTHING_SETTLED) -> None:
        self._low = committed
        self._next = committed
        self._open: dict[int, _Open] = {}
        self._open_packs = 0
        self._known = settled
        self.in_flight = 0

    @property
    def next_offset(self) -> int:
        """Return the offset after the last added record. Reading continues at this offset."""
        return self._next

    def add(self, offset: int, count: int) -> Sequence[int]:
        """Add a record of `count` messages. Return the indexes of the unsettled messages.

        Add records in the order of their offsets. Gaps (markers, aborted records) are allowed.
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
            self._open[offset] = _Open(count, bits, len(todo), known.offered.get(offset, 0))
            self._open_packs += count > 1
            self.in_flight += len(todo)
        return todo

    def settle(self, offset: int, index: int) -> bool:
        """Mark a message as settled. Return False if the message was not in flight."""
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
        """Return True if this message is in flight."""
        entry = self._open.get(offset)
        return entry is not None and index < entry.count and not entry.bits >> index & 1

    def offer(self, offset: int, index: int) -> None:
        """Mark a message as offered, before the offer. Any thread may call this method."""
        entry = self._open.get(offset)
        if entry is not None:
            entry.offered |= 1 << index

    def take_back(self, offset: int, index: int) -> bool:
        """Remove the mark of a message that was not offered. Return True if there was a mark."""
        entry = self._open.get(offset)
        if entry is None or not entry.offered >> index & 1:
            return False
        entry.offered &= ~(1 << index)
        return True

    def is_offered(self, offset: int, index: int) -> bool:
        """Return True if this message is in flight and was offered, even by an earlier process."""
        entry = self._open.get(offset)
        return entry is not None and bool(entry.offered >> index & 1)

    def low_water(self) -> int:
        """Return the lowest offset that is not completely settled. This offset is committed."""
        # Dictionaries keep insertion order, and offsets are added in ascending order.
        self._low = next(iter(self._open), self._next)
        return self._low

    def full(self) -> bool:
        """Return True if reading must pause because the metadata might not fit into a commit."""
        return not self.room() or self._open_packs >= MAX_OPEN_PACKS

    def is_crowded(self) -> bool:
        """Return True if the ledger is at least half full."""
        return self.room() < MAX_WINDOW_OFFSETS / 2 or self._open_packs >= MAX_OPEN_PACKS / 2

    def room(self) -> int:
        """Return how many more records with one message may be added until full() is true."""
        return max(0, MAX_WINDOW_OFFSETS - (self._next - self.low_water()))

    def metadata(self) -> str:
        """Return the metadata to commit with low_water(). Return "" if there is nothing to list."""
        low = self.low_water()
        bits = (1 << (self._next - low)) - 1
        partial = bytearray()
        partials = 0
        for offset, entry in self._open.items():
            bits &= ~(1 << (offset - low))
            if entry.bits:
                partials += 1
                _put_partial(partial, offset - low, entry.count, entry.bits)
        # Messages that an earlier process settled stay settled, even before this ledger reads them.
        for offset in self._known.whole:
            if offset >= self._next:
                bits |= 1 << (offset - low)
        for offset, (count, settled) in sorted(self._known.partial.items()):
            if offset >= self._next:
                partials += 1
                _put_partial(partial, offset - low, count, settled)
        offered = self._offered(low)
        if not bits and not partial and not offered:
            return ""
        out = bytearray([_VERSION_OFFERED if offered else _VERSION])
        _put_dense(out, bits)
        if offered:
            _put_varint(out, partials)
        return base64.b85encode(bytes(out + partial + offered)).decode()

    def _offered(self, low: int) -> bytearray:
        """Encode the offered messages that are not settled. Return no bytes if there are none."""
        dense = bytearray((MAX_WINDOW_OFFSETS + 7) // 8)
        packs = bytearray()
        is_empty = True
        for offset, left in self._all_offered():
            distance = offset - low
            is_empty = False
            if left != 1 or distance >= MAX_WINDOW_OFFSETS:
                _put_partial(packs, distance, left.bit_length(), left)
            else:
                dense[distance >> 3] |= 1 << (distance & 7)
        out = bytearray()
        if not is_empty:
            _put_dense(out, int.from_bytes(dense, "little"))
        return out + packs

    def _all_offered(self) -> Iterator[tuple[int, int]]:
        for offset, entry in self._open.items():
            if left := entry.offered & ~entry.bits:
                yield offset, left
        for offset, left in self._known.offered.items():
            if offset >= self._next:
                yield offset, left
