"""Reads Kafka records whose header names are not UTF-8.

Whoever may write to an intake can write such a name: a Java client encodes an unpaired
surrogate as "?", but the protocol carries any bytes. kafka-python 3.0.12 raises
CorruptRecordError from poll() then, again at each further poll, so that one record would stop
its partition for ever. Here the bytes that are no UTF-8 become "?", and the record is judged
like any other.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

_read: Final = DefaultRecordBatch._read_msg


def allow_any_header_name() -> None:
    """Have every consumer of this process read such records. May be called again."""
    DefaultRecordBatch._read_msg = _read_tolerantly


def masked(name: bytes) -> bytes:
    """The name with a "?" for each byte that is not part of UTF-8 text."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join("?" if "\udc80" <= letter <= "\udcff" else letter for letter in text).encode()


def _read_tolerantly(batch: Any) -> Any:
    try:
        return _read(batch)
    except UnicodeDecodeError:
        # The batch's position moves only when a record has been read whole.
        _mask_names(batch._buffer, batch._pos)
        return _read(batch)


def _mask_names(buffer: bytearray, pos: int) -> None:
    """Mask the header names of the record that begins at `pos`. Layout: KIP-98, Record."""
    _, pos = decode_varint(buffer, pos)  # length
    for _ in range(3):  # attributes, timestamp delta, offset delta
        _, pos = decode_varint(buffer, pos)
    for _ in range(2):  # key, value
        length, pos = decode_varint(buffer, pos)
        pos += max(length, 0)
    count, pos = decode_varint(buffer, pos)
    for _ in range(count):
        length, pos = decode_varint(buffer, pos)
        buffer[pos : pos + length] = masked(bytes(buffer[pos : pos + length]))
        pos += length
        length, pos = decode_varint(buffer, pos)
        pos += max(length, 0)
