"""A fetcher that no record can stop: a workaround for kafka-python 3.0.12.

If the library's fetcher cannot decode a batch, every poll() raises an error. So one batch stops its
partition forever, and also the other partitions of the consumer. The fetcher also returns up to
`max_poll_records` records of one partition before it reads the next partition, even if the
decompressed records are very large.

Here a batch that cannot be decoded becomes one record, an UndecodableRecord, at the same position
in the stream. The reader reports this record and continues after it. Commits, seeks and rewinds
work as with any other record. Partitions take turns, and the size of a poll in bytes is limited.

Guarantees:

- A poll returns at most POLL_BYTES plus one record, which has at most MAX_BATCH_BYTES.
- At most PARKED_BYTES of decompressed records plus one batch wait for their turn.
- A batch with a wrong checksum is fetched REFETCHES more times before it is skipped, because data
  that were damaged in transit then arrive intact.

The handling of undecodable batches can be removed when test_fetching.py shows that the library
skips them itself.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.structs import TopicPartition

from shared.stream.kafka_python.batches import BoundedBatch, Fields, require_order
from shared.stream.kafka_python.decompress import DecompressError
from shared.stream.kafka_python.patient_fetching import PatientFetcher, sleep_while_idle

log = logging.getLogger(__name__)

POLL_BYTES: Final = 16 * 1024 * 1024
PARKED_BYTES: Final = 64 * 1024 * 1024
REFETCHES: Final = 2
# An UndecodableRecord contains at most this many bytes of its batch.
KEPT_BYTES: Final = 64 * 1024
# The approximate memory cost of a record in addition to its key, value and headers.
_RECORD_BYTES: Final = 512
_VERSION_AT: Final = 16
_VERSION: Final = 2  # the record format's version; Kafka 4 writes no other version


class UndecodableRecord(NamedTuple):
    """A batch, or the rest of a batch, that cannot be decoded. `offset` is its last offset.

    `value` is the beginning of the batch as received. `length` and `sha256` describe the whole
    batch. The record has no key and no headers, so no reader mistakes it for a pack, event or
    client.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes
    first_offset: int
    reason: str
    length: int
    sha256: str
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 0  # 0: time of the producer's clock


class _Budget:
    """The limits of one fetcher and their state.

    `left` is the number of bytes left for the present poll. `last_header` is the last header that
    is read from a record. `damaged` counts how often each batch arrived with a wrong checksum.
    """

    def __init__(self) -> None:
        self.left = POLL_BYTES
        self.last_header: str | None = None
        self.damaged: Counter[tuple[TopicPartition, int]] = Counter()


class BoundedPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetched partition."""

    def __init__(
        self, budget: _Budget, fetch_offset: int, tp: TopicPartition, records: Any, **config: Any
    ) -> None:
        self._budget = budget
        self._fetched_bytes = records.size_in_bytes()
        self._batch_bytes = 0
        super().__init__(fetch_offset, tp, records, **config)

    @property
    def held_bytes(self) -> int:
        """Return the bytes in memory: the fetched data and the current decompressed batch."""
        return int(self._fetched_bytes) + self._batch_bytes

    def take(self, n: int) -> list[Any]:
        """Return at most `n` records, or fewer if the poll has reached its limit of bytes."""
        taken: list[Any] = []
        try:
            for record in self.record_iterator:
                taken.append(record)
                self._budget.left -= _RECORD_BYTES + len(record.value or b"")
                if len(taken) >= n or self._budget.left <= 0:
                    break
        except Exception:
            # The iterator has ended. Without drain(), the fetcher would call the iterator forever.
            self.drain()
            raise
        return taken

    def _unpack_records(self, tp: Any, records: Any, _key: Any, _value: Any) -> Iterator[Any]:
        while (raw := records._next_slice) is not None:
            records._cache_next()
            first = int.from_bytes(raw[:8], "big")
            version = raw[_VERSION_AT] if len(raw) >= BoundedBatch.HEADER_STRUCT.size else 0
            if version != _VERSION:
                reason = f"format version {version} is not supported"
                yield self._undecodable(raw, first, first, reason)
                continue
            batch = BoundedBatch(raw)
            batch.last_header = self._budget.last_header
            if not batch.validate_crc():
                if self._may_refetch(tp, first):
                    break
                last = batch.last_believable_offset
                yield self._undecodable(raw, first, last, "its checksum is wrong")
                continue
            self.leader_epoch = batch.leader_epoch
            if not self._is_hidden(batch):
                yield from self._records(tp, raw, batch)
            self.next_fetch_offset = batch.next_offset
        self.drain()

    def _may_refetch(self, tp: TopicPartition, offset: int) -> bool:
        damaged = self._budget.damaged
        damaged[tp, offset] += 1
        if damaged[tp, offset] <= REFETCHES:
            log.warning("%s/%d@%d: wrong checksum, fetching it again", *tp, offset)
            return True
        del damaged[tp, offset]
        return False

    def _is_hidden(self, batch: Any) -> bool:
        """Return True for batches that no reader gets: markers, and aborted transactions."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)

    def _records(self, tp: TopicPartition, raw: memoryview, batch: Any) -> Iterator[Any]:
        due, last = batch.base_offset, max(batch.base_offset, batch.last_offset)
        epoch, stamp = self.leader_epoch, batch.timestamp_type
        try:
            for fields in batch.read():
                offset = fields[1]
                if not due <= offset <= last:
                    require_order(due, offset, last)
                if not self._batch_bytes:  # the first record causes the decompression
                    self._batch_bytes = batch.held_bytes
                self.records_read += 1
                self.bytes_read += fields[0]
                self.next_fetch_offset = due = offset + 1
                yield _consumer_record(tp, epoch, stamp, fields)
        except (DecompressError, CorruptRecordError) as error:
            yield self._undecodable(raw, min(due, last), last, str(error), batch.max_timestamp)
        self._batch_bytes = 0

    def _undecodable(
        self, raw: memoryview, first: int, last: int, reason: str, timestamp: int = -1
    ) -> UndecodableRecord:
        """Build the record that replaces the offsets `first` to `last`. Continue after `last`."""
        self.next_fetch_offset = last + 1
        topic, partition = self.topic_partition
        place = {"topic": topic, "partition": partition, "first_offset": first}
        fields = {**place, "last_offset": last, "bytes": len(raw), "reason": reason}
        log.error("a batch cannot be decoded and is skipped", extra=fields)
        return UndecodableRecord(
            topic=topic,
            partition=partition,
            offset=last,
            timestamp=timestamp,
            value=bytes(raw[:KEPT_BYTES]),
            first_offset=first,
            reason=reason,
            length=len(raw),
            sha256=hashlib.sha256(raw).hexdigest(),
        )


def _consumer_record(
    tp: TopicPartition, leader_epoch: int, timestamp_type: int, fields: Fields
) -> Any:
    _, offset, at_ms, key, value, headers = fields
    topic, partition = tp
    # Creating the record from a tuple is twice as fast as naming its 13 fields.
    return tuple.__new__(
        ConsumerRecord,
        (
            topic,
            partition,
            leader_epoch,
            offset,
            at_ms,
            timestamp_type,
            key,
            value,
            headers,
            None,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            -1,
        ),
    )


class BoundedFetcher(PatientFetcher):
    """A fetcher that limits the size of polls and lets partitions take turns."""

    _next_partition_records: Any

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        self._budget = _Budget()

    def PartitionRecords(self, *args: Any, **config: Any) -> BoundedPartitionRecords:  # noqa: N802
        """Create a reader of a fetched partition. The base class calls this."""
        for ours in ("key_deserializer", "value_deserializer"):
            config.pop(ours, None)
        return BoundedPartitionRecords(self._budget, *args, **config)

    def fetched_records(self, max_records: int | None = None, update_offsets: bool = True) -> Any:
        """Return fetched records, within the limits of one poll."""
        self._budget.left = POLL_BYTES
        self._take_turns()
        return super().fetched_records(max_records, update_offsets)

    def _append(self, drained: Any, part: Any, max_records: int, update_offsets: bool) -> int:
        count = super()._append(drained, part, max_records, update_offsets)
        # The base class continues until the count reaches max_records.
        return max_records if self._budget.left <= 0 else int(count)

    def _take_turns(self) -> None:
        """Select another partition to read next. The rest of the previous partition waits."""
        current = self._next_partition_records
        if not current:
            # If the current partition is exhausted, the base class does not read waiting
            # partitions.
            self._next_partition_records = None
            return
        waiting = self._paused_partition_records
        held = current.held_bytes + sum(part.held_bytes for part in waiting.values())
        if held > PARKED_BYTES:
            return
        following = self._next_fetched()
        if following is None and all(self._subscriptions.is_paused(tp) for tp in waiting):
            return
        waiting[current.topic_partition] = current
        # None makes the base class read the partition that has waited longest.
        self._next_partition_records = following

    def _next_fetched(self) -> Any:
        """Return a partition that was fetched but not read yet."""
        while self._completed_fetches:
            fetched = self._completed_fetches.popleft()
            if self._subscriptions.is_paused(fetched.topic_partition):
                self._paused_completed_fetches[fetched.topic_partition] = fetched
            elif parsed := self._parse_fetched_data(fetched):
                return parsed
        return None


def bound_fetches(consumer: Any) -> None:
    """Install a BoundedFetcher in a KafkaConsumer before its first fetch."""
    consumer._fetcher = BoundedFetcher(
        consumer._client, consumer._subscription, metrics=None, **consumer.config
    )
    sleep_while_idle(consumer)


def skip_headers_after(consumer: Any, name: str) -> None:
    """Read no headers of a record after the first header with this name.

    This halves the reading time of consumers that need no further headers.
    """
    consumer._fetcher._budget.last_header = name
