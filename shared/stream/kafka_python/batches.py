"""Reads the records of a batch within bounds: a workaround for kafka-python 3.0.12.

Any client that may write to an intake topic controls the work of the decoder. kafka-python 3.0.12

- decompresses without a limit, and supports snappy and zstd only with further packages (here
  decompress.py does it);
- creates a tuple for each header, 32 bytes for every byte received: the headers of one record may
  take gigabytes. Here a record keeps its first MAX_HEADERS;
- raises an error for a header name that is not UTF-8, at every poll, so that one record stops its
  partition forever. A Java client encodes an unpaired surrogate as "?", but the protocol
  allows any bytes. Here the bytes that are not UTF-8 become "?".

The header code can be removed when tests/unit/shared/stream/kafka_python/test_batches.py shows that
the library limits headers itself; the decompression limit when the library's codec.py accepts one.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.errors import CorruptRecordError
from kafka.record.default_records import ControlRecord, DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from shared.stream.kafka_python.decompress import decompress

# A decompressed batch of an honest producer is about 1 MB; one uncompressed record may be 8 MB.
MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
# More than an intake accepts (200), so that it can detect too many headers.
MAX_HEADERS: Final = 256

Headers = list[tuple[str, bytes | None]]


def masked(name: bytes) -> str:
    """Decode the name, with a "?" for each byte that is not part of UTF-8 text."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join("?" if "\udc80" <= letter <= "\udcff" else letter for letter in text)


def require_order(due: int, offset: int, last: int) -> None:
    """Raise CorruptRecordError unless the record's offset is in order.

    Each record states its distance from the batch's first offset; the broker does not correct it.
    """
    if not due <= offset <= last:
        raise CorruptRecordError(f"offset {offset} is not between {due} and {last}")


class BoundedBatch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of format version 2. Iterating raises DecompressError or CorruptRecordError."""

    _buffer: Any
    _pos: int
    _decompressed: bool

    @property
    def held_bytes(self) -> int:
        """The number of bytes that the batch holds in memory."""
        return len(self._buffer)

    @property
    def last_believable_offset(self) -> int:
        """The last offset of a batch with a wrong checksum.

        Its header cannot be trusted, so its two record counts must agree. If they do not, only
        one offset is skipped, and the broker returns the same batch again for the next one.
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

    def _read_msg(self, decode_varint: Any = decode_varint) -> Any:
        """Read the next record. Layout: KIP-98, Record."""
        buffer = self._buffer
        length, start = decode_varint(buffer, self._pos)
        end = start + length
        if length < 0 or end > len(buffer):
            raise CorruptRecordError(f"a record of {length} bytes does not fit into its batch")
        _, pos = decode_varint(buffer, start)  # attributes: there are none
        delta, pos = decode_varint(buffer, pos)
        timestamp = (
            self.max_timestamp
            if self.timestamp_type == self.LOG_APPEND_TIME
            else self.first_timestamp + delta
        )
        offset_delta, pos = decode_varint(buffer, pos)
        key, pos = _octets(buffer, pos, decode_varint)
        value, pos = _octets(buffer, pos, decode_varint)
        headers, pos = _headers(buffer, pos, decode_varint)
        if pos > end or (pos < end and len(headers) < MAX_HEADERS):
            raise CorruptRecordError(f"a record has {pos - start} bytes instead of {length}")
        self._pos = end
        kind = ControlRecord if self.is_control_batch else DefaultRecord
        offset = self.base_offset + offset_delta
        return kind(length, offset, timestamp, self.timestamp_type, key, value, headers)


def _octets(buffer: bytes, pos: int, decode_varint: Any) -> tuple[bytes | None, int]:
    length, pos = decode_varint(buffer, pos)
    if length < 0:
        return None, pos
    return bytes(buffer[pos : pos + length]), pos + length


def _headers(buffer: bytes, pos: int, decode_varint: Any) -> tuple[Headers, int]:
    """Read the first MAX_HEADERS headers; also return the position after them."""
    count, pos = decode_varint(buffer, pos)
    if count < 0:
        raise CorruptRecordError(f"a record has {count} headers")
    headers: Headers = []
    for _ in range(min(count, MAX_HEADERS)):
        name, pos = _octets(buffer, pos, decode_varint)
        if name is None:
            raise CorruptRecordError("a header has no name")
        content, pos = _octets(buffer, pos, decode_varint)
        try:
            headers.append((name.decode(), content))
        except UnicodeDecodeError:
            headers.append((masked(name), content))
    return headers, pos
