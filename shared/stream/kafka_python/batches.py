"""Reads the records of a batch with limited memory and time: a workaround for kafka-python 3.0.12.

Any client that may write to an intake topic determines how much work the decoder has. This
module removes three faults of kafka-python 3.0.12:

- The library decompresses without a limit, and needs further packages for snappy and zstd. Here
  decompress.py decompresses.
- The library creates a tuple for each header, so every received byte can take 32 bytes of memory,
  and the headers of one record may take gigabytes. Here a record keeps only its first MAX_HEADERS
  headers.
- If a header name is not UTF-8, the library raises an error at every poll, so one record stops its
  partition forever. Java clients do not send such names, but the protocol allows any bytes. Here
  each byte that is not UTF-8 becomes "?".

The header code can be removed when tests/unit/shared/stream/kafka_python/test_batches.py shows that
the library limits headers itself. The decompression code can be removed when the library's codec.py
accepts a limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kafka.errors import CorruptRecordError
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from shared.stream.kafka_python.decompress import decompress

# A normal producer's decompressed batch is about 1 MB; one uncompressed record may be 8 MB.
MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
# An intake accepts 200 headers. This limit is higher, so that the intake can detect a record with
# too many headers.
MAX_HEADERS: Final = 256

Headers = list[tuple[str, bytes | None]]
# The fields are size in bytes, offset, time in Unix milliseconds, key, value and headers.
Fields = tuple[int, int, int, bytes | None, bytes | None, Headers]


def masked(name: bytes) -> str:
    """Decode the name, with a "?" for each byte that is not part of UTF-8 text."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join("?" if "\udc80" <= letter <= "\udcff" else letter for letter in text)


def require_order(due: int, offset: int, last: int) -> None:
    """Raise CorruptRecordError unless the record's offset is between `due` and `last`.

    Each record contains its distance from the batch's first offset. The broker does not check this
    distance.
    """
    if not due <= offset <= last:
        raise CorruptRecordError(f"offset {offset} is not between {due} and {last}")


class BoundedBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of format version 2. Iteration may raise DecompressError or CorruptRecordError."""

    # Headers after the first header with this name are not read. If None, all headers are read.
    last_header: str | None = None

    _buffer: Any
    _pos: int
    _decompressed: bool

    @property
    def held_bytes(self) -> int:
        """Return the number of bytes that the batch holds in memory."""
        return len(self._buffer)

    @property
    def last_believable_offset(self) -> int:
        """Return the last offset of a batch with a wrong checksum.

        The header of such a batch cannot be trusted, so its two record counts must agree. If they
        differ, only one offset is skipped, and the broker returns the same batch again for the next
        offset.
        """
        delta = self.last_offset_delta
        return int(
            self.base_offset + (delta if delta >= 0 and delta == self.records_count - 1 else 0)
        )

    def _maybe_uncompress(self) -> None:
        if not self._decompressed and self.compression_type != self.CODEC_NONE:
            data = bytes(memoryview(self._buffer)[self._pos :])
            self._buffer = decompress(self.compression_type, data, MAX_BATCH_BYTES)
            self._pos = 0
        self._decompressed = True

    def __iter__(self) -> Iterator[Any]:
        """Yield the records as objects of the library."""
        kind = ControlRecord if self.is_control_batch else DefaultRecord
        for length, offset, at_ms, key, value, headers in self.read():
            yield kind(length, offset, at_ms, self.timestamp_type, key, value, headers)

    def _appended_ms(self) -> int | None:
        """Return the time of all records if the broker set this time, otherwise None."""
        is_appended = self.timestamp_type == self.LOG_APPEND_TIME
        return self.max_timestamp if is_appended else None

    def read(self) -> Iterator[Fields]:
        """Yield the fields of each record.

        Every reader of mail.events runs this code for every event. So values that all records share
        are looked up only once, and numbers of one byte are decoded without a call.
        """
        self._maybe_uncompress()
        buffer = bytes(memoryview(self._buffer)[self._pos :])
        self._buffer, self._pos = buffer, 0
        base, first, size = self.base_offset, self.first_timestamp, len(buffer)
        appended = self._appended_ms()
        end = 0
        try:
            for _ in range(self.records_count):
                length, start = _varint(buffer, end)
                end = start + length
                if length < 0 or end > size:
                    raise CorruptRecordError(
                        f"a record of {length} bytes does not fit into its batch"
                    )
                # A record begins with its attributes: one byte, because no attribute is defined.
                pos = start + 1 if buffer[start] < 0x80 else _varint(buffer, start)[1]
                if buffer[pos]:
                    delta, pos = _varint(buffer, pos)
                else:
                    delta, pos = 0, pos + 1
                distance, pos = _varint(buffer, pos)
                number = buffer[pos]
                if number & 0x81:
                    key, pos = _octets(buffer, pos)
                else:
                    pos += 1
                    key = buffer[pos : (pos := pos + (number >> 1))]
                value, pos = _octets(buffer, pos)
                headers, pos = self._headers(buffer, pos)
                if pos > end or (pos < end and not self._may_end_early(headers)):
                    raise CorruptRecordError(
                        f"a record has {pos - start} bytes instead of {length}"
                    )
                at_ms = first + delta if appended is None else appended
                yield length, base + distance, at_ms, key, value, headers
        except (ValueError, IndexError) as error:
            raise CorruptRecordError(f"a record has no valid structure: {error!r}") from None
        if end != size:
            raise CorruptRecordError(f"{size - end} bytes are left after all records")

    def _may_end_early(self, headers: Headers) -> bool:
        """Return True if the record may have further headers that were not read."""
        found = bool(headers) and headers[-1][0] == self.last_header
        return found or len(headers) == MAX_HEADERS

    def _headers(self, buffer: bytes, pos: int) -> tuple[Headers, int]:
        """Read the first MAX_HEADERS headers, up to `last_header`. Also return the next position.

        Reading headers is most of the work of reading an event. So lengths of one byte (below 64)
        are decoded here, without a further call, and the usual names are looked up instead of
        decoded.
        """
        count, pos = _varint(buffer, pos)
        if count == 0:
            return [], pos
        if count < 0:
            raise CorruptRecordError(f"a record has {count} headers")
        headers: Headers = []
        last, names = self.last_header, _NAMES
        for _ in range(min(count, MAX_HEADERS)):
            length = buffer[pos]
            if length & 0x81:
                length, pos = decode_varint(buffer, pos)
                if length < 0:
                    raise CorruptRecordError("a header has no name")
                end = pos + length
            else:
                pos += 1
                end = pos + (length >> 1)
            octets = buffer[pos:end]
            name = names.get(octets) or _decoded(octets)
            length = buffer[end]
            if length & 0x81:
                content, pos = _octets(buffer, end)
                headers.append((name, content))
            else:
                end += 1
                pos = end + (length >> 1)
                headers.append((name, buffer[end:pos]))
            if name == last:
                break
        return headers, pos


def _varint(buffer: bytes, pos: int) -> tuple[int, int]:
    """Decode a number.

    For one or two bytes, this function is three times as fast as decode_varint().
    """
    low = buffer[pos]
    if low < 0x80:
        return (low >> 1) ^ -(low & 1), pos + 1
    high = buffer[pos + 1]
    if high < 0x80:
        return (low >> 1 & 0x3F | high << 6) ^ -(low & 1), pos + 2
    found: tuple[int, int] = decode_varint(buffer, pos)
    return found


def _octets(buffer: bytes, pos: int) -> tuple[bytes | None, int]:
    length, pos = _varint(buffer, pos)
    if length < 0:
        return None, pos
    end = pos + length
    return buffer[pos:end], end


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return masked(name)


# The names that the pipeline itself writes.
_NAMES: Final = {
    name.encode(): name
    for name in (
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_time",
        "ce_subject",
        "content-type",
        "m",
    )
}
