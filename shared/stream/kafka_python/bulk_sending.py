"""Appends the records of a transaction to a producer's batches without a future per record.

Written for kafka-python 3.0.12. KafkaProducer.send() takes 16 µs of CPU time per event, but 4 µs
are enough. send() measures the record twice before it encodes it, encodes it byte by byte, and
formats a line of the debug log. It also creates a future with two callbacks, which the I/O thread
completes. The caller of a transaction needs only one fact about each record after the commit:
whether the record failed. Here a record is encoded in one piece and appended to the batch that
send() would choose. The result of the record is read from the batch on request.

This module encodes records and chooses their batches. The choice is made under the accumulator's
lock and by its rule. A record is appended to the last batch of the partition if the record fits
into this batch, and otherwise to a new batch. This module does not own sending, sequence numbers,
retries, and the splitting of batches that are too large. The library still does this work.

Guarantees:

- The bytes of a batch are the same as with send() (test_bulk_sending.py compares them), except that
  all records that are appended together have the same time.
- Like a future of send(), a SentRecord reports that the broker refused the record or that its batch
  was aborted. It stays correct when a split moves the record to another batch.
- A record larger than `max_request_size` raises MessageSizeTooLargeError before it is appended.

send() is still used while the producer does not have the metadata of the topic, and for records
whose partition the producer chooses. This module can be removed when send() is about as fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import IllegalStateError
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.record.util import encode_varint
from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic, now_ms

Record = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]  # value, key, headers

# Smaller numbers (the lengths of keys, of header values and of most events) are looked up in a
# table.
_TABLE_SIZE: Final = 4_096
# The maximum number of header names that are encoded only once. A service writes about twenty.
_MAX_NAMES: Final = 256
_NO_BYTES: Final = b"\x01"  # the length -1


def _encoded(number: int) -> bytes:
    octets = bytearray()
    encode_varint(number, octets.append)
    return bytes(octets)


_VARINTS: Final = tuple(map(_encoded, range(_TABLE_SIZE)))
_names: dict[str, bytes] = {}


def varint(number: int) -> bytes:
    """Encode a number as the record format requires (zigzag, groups of 7 bits)."""
    return _VARINTS[number] if 0 <= number < _TABLE_SIZE else _encoded(number)


def encode_record(record: Record, offset: int, delta_ms: int) -> bytes:
    """Encode a record of a batch. `offset` and `delta_ms` are relative to the first record."""
    value, key, headers = record
    parts = [b"\x00", varint(delta_ms), varint(offset)]
    for octets in (key, value):
        parts += (_NO_BYTES,) if octets is None else (varint(len(octets)), octets)
    parts.append(varint(len(headers)))
    for name, content in headers:
        parts += (_names.get(name) or _name(name), varint(len(content)), content)
    body = b"".join(parts)
    return varint(len(body)) + body


def _name(name: str) -> bytes:
    octets = name.encode()
    encoded = varint(len(octets)) + octets
    if len(_names) < _MAX_NAMES:
        _names[name] = encoded
    return encoded


class SentRecord:
    """The result of sending one record. The library calls rebind() when it splits the batch."""

    __slots__ = ("_index", "_result")

    def __init__(self, result: Any, index: int) -> None:
        """`result` is the future of a batch. `index` is the record's position in the batch."""
        self._result = result
        self._index = index

    def rebind(self, result: Any, index: int) -> None:
        """Use the result of another batch, to which a split has moved the record."""
        # The library never completes the old result. So end the wait of flush() for the old result.
        # Then flush() waits for the new results.
        self._result._latch.set()
        self._result = result
        self._index = index

    @property
    def exception(self) -> Any:
        """Return the error of a failed record. Return None after success or without a result."""
        result = self._result
        if not result.is_done:
            return None
        if result.exception is not None:
            return result.exception
        reason_of = result.value[2]
        return None if reason_of is None else reason_of(self._index)

    def failed(self) -> bool:
        """Return True if it is known that the record was not written."""
        return self.exception is not None

    @property
    def offset(self) -> int:
        """Return the offset of a written record. Return -1 if the offset is not known (yet)."""
        if not self._result.is_done or self._result.value is None:
            return -1
        first: int = self._result.value[0]
        return first if first < 0 else first + self._index


def add_partitions(producer: KafkaProducer, partitions: Iterable[TopicPartition]) -> None:
    """Add partitions to the producer's transaction, and wake the thread that sends.

    The thread then adds all of them in one request to the broker, while the caller encodes the
    records. If each partition were added with its first record, there would be more requests, and a
    system call per partition to wake the thread.
    """
    transaction = producer._transaction_manager
    with transaction._lock:  # without the lock, the thread may send some partitions early
        for partition in partitions:
            transaction.maybe_add_partition_to_transaction(partition)
    producer._sender.wakeup()


def append_all(
    producer: KafkaProducer, partition: TopicPartition, records: Sequence[Record]
) -> list[SentRecord]:
    """Append these records to one partition, in this order. Raises KafkaError.

    The producer must know the topic, and the partition must have been added to its transaction.
    This function does not wake the sender, because the producer's flush() does so.
    """
    accumulator, at_ms = producer._accumulator, now_ms()
    accumulator._appends_in_progress.increment()
    try:
        with accumulator._tp_lock(partition):
            if accumulator._closed:
                raise IllegalStateError("the producer is closed")
            return _append(producer, partition, records, at_ms)
    finally:
        accumulator._appends_in_progress.decrement()


def _append(
    producer: KafkaProducer, partition: TopicPartition, records: Sequence[Record], at_ms: int
) -> list[SentRecord]:
    accumulator = producer._accumulator
    queue = accumulator._batches[partition]
    sent: list[SentRecord] = []
    while len(sent) < len(records):
        batch: Any = queue[-1] if queue else None
        count = _fill(producer, batch, records, len(sent), at_ms) if batch is not None else 0
        if not count:
            batch = _new_batch(producer, partition)
            count = _fill(producer, batch, records, len(sent), at_ms)
            queue.append(batch)
            accumulator._incomplete.add(batch)
        end = batch.records._next_offset
        added = [SentRecord(batch.produce_future, index) for index in range(end - count, end)]
        batch._record_futures += added
        sent += added
    return sent


def _new_batch(producer: KafkaProducer, partition: TopicPartition) -> Any:
    config = producer._accumulator.config
    records = MemoryRecordsBuilder(
        config["message_version"], config["compression_attrs"], config["batch_size"]
    )
    return ProducerBatch(partition, records)


def _fill(
    producer: KafkaProducer, batch: Any, waiting: Sequence[Record], begin: int, at_ms: int
) -> int:
    """Write as many records as fit, from index `begin` on. Return the number of written records.

    An empty batch accepts at least one record, unless the producer may not send this record. A
    closed batch accepts no record.
    """
    records = batch.records
    if records._closed:
        return 0
    builder, index = records._builder, records._next_offset
    is_first = builder._first_timestamp is None
    first_ms = at_ms if is_first else builder._first_timestamp
    delta_ms, size_bytes = at_ms - first_ms, len(builder._buffer)
    parts: list[bytes] = []
    for record in islice(waiting, begin, None):
        octets = encode_record(record, index + len(parts), delta_ms)
        size_bytes += len(octets)
        if size_bytes > builder._batch_size:
            if parts or not is_first:
                break
            producer._ensure_valid_record_size(size_bytes)
        parts.append(octets)
    if not parts:
        return 0
    builder._buffer += b"".join(parts)
    builder._first_timestamp = first_ms
    builder._max_timestamp = at_ms if is_first else max(at_ms, builder._max_timestamp)
    builder._num_records += len(parts)
    records._next_offset = index + len(parts)
    builder._last_offset = records._next_offset - 1
    batch.max_record_size = max(batch.max_record_size, *map(len, parts))
    batch.last_append = monotonic()
    return len(parts)
