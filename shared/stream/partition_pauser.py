"""Pauses partitions while too much is in flight or while their next record is not due.

If a partition has to wait, its polled records stay in memory and are later read first. If there is
no room in memory, the records are fetched again. The records of a shelf are always fetched again,
because all records that the consumer of a shelf has read must have been handed out (handovers.py).

This module owns the pauses, each of which ends when its reason ends. It does not own the limits
(jobs.py), the time when a record is due (the service), and the messages in flight (worker.py).

After a seek to an earlier offset, the client drops the fetched records of the partition and fetches
them again, up to PARTITION_FETCH_BYTES. The records of a retry topic have different due times, so
seeks would cause one fetch per message. Instead the rest of a poll stays in memory. The records of
a partition are returned once and in order. When another member reads a partition, its kept records
are dropped. A kept record has not been handed out, so if the process dies, the next reader of the
partition reads the record from Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic
from shared.stream.consumer import Record, StreamConsumer

# The maximum size of all kept records. The records of one poll have at most about this size.
MOST_BYTES: Final = 16 * 1024 * 1024
# Reading resumes below this share of the limit, so that pauses and resumptions do not alternate
# quickly.
RESUME_SHARE: Final = 0.75


class KeptRecords:
    """The kept records of one consumer. Use it only in the Kafka thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[TopicPartition, Sequence[Record]] = {}
        self._bytes: dict[TopicPartition, int] = {}

    @property
    def partitions(self) -> Set[TopicPartition]:
        """Return the partitions that have kept records."""
        return self._kept.keys()

    def keep(self, partition: TopicPartition, records: Sequence[Record]) -> bool:
        """Keep the next records of a partition in memory. Return False if there is no room."""
        size = sum(len(record.value or b"") for record in records)
        if sum(self._bytes.values()) + size > self._most_bytes:
            return False
        self._kept[partition] = records
        self._bytes[partition] = size
        return True

    def take(self, partition: TopicPartition) -> Sequence[Record]:
        """Remove and return the kept records of this partition."""
        self._bytes.pop(partition, None)
        return self._kept.pop(partition, ())


class PartitionPauser:
    """The pauses of one consumer. Use it only in the Kafka thread."""

    def __init__(self, shelf_topic: str = "") -> None:
        self._shelf_topic = shelf_topic
        self._kept = KeptRecords()
        self._due_at: dict[TopicPartition, float] = {}
        self._is_throttled = False
        # The partitions whose next record does not fit into the limit.
        self._without_room: set[TopicPartition] = set()
        # The partitions that must not be read at present, from the consumer or from kept records.
        self._waiting: Set[TopicPartition] = frozenset()

    @property
    def has_ready(self) -> bool:
        """Return True if take_ready() would return records."""
        return bool(self._kept.partitions - self._waiting)

    def take_ready(self) -> dict[TopicPartition, Sequence[Record]]:
        """Return the kept records of partitions that no longer have to wait."""
        return {each: self._kept.take(each) for each in self._kept.partitions - self._waiting}

    def sleep(
        self,
        consumer: StreamConsumer,
        partition: TopicPartition,
        records: Sequence[Record],
        seconds: float,
    ) -> None:
        """Pause this partition for `seconds`, until the first of these records is due."""
        self.keep(consumer, partition, records)
        consumer.pause([partition])
        self._due_at[partition] = monotonic() + seconds

    def wait_for_room(
        self, consumer: StreamConsumer, partition: TopicPartition, records: Sequence[Record]
    ) -> None:
        """Continue this partition with these records as soon as fewer messages are in flight."""
        self.keep(consumer, partition, records)
        self._without_room.add(partition)
        self._is_throttled = True

    def keep(
        self, consumer: StreamConsumer, partition: TopicPartition, records: Sequence[Record]
    ) -> None:
        """Continue this partition with these records of the last poll."""
        is_shelf = partition.topic == self._shelf_topic
        if records and (is_shelf or not self._kept.keep(partition, records)):
            consumer.seek(partition, records[0].offset)

    def forget(self, partition: TopicPartition) -> None:
        """Drop the state of a partition that another member reads now."""
        self._kept.take(partition)
        self._due_at.pop(partition, None)
        self._without_room.discard(partition)

    def settle(
        self,
        consumer: StreamConsumer,
        fill: float,
        full: Set[TopicPartition],
        first: Callable[[], Set[TopicPartition]],
    ) -> None:
        """Pause and resume partitions. `fill` is the used share of the limit in flight.

        `full` are the partitions whose ledgers are full. `first` returns partitions with priority.
        After the limit is reached, these partitions are read until their next record does not fit.
        """
        now = monotonic()
        for partition in [p for p, at in self._due_at.items() if at <= now]:
            del self._due_at[partition]
        if fill >= (RESUME_SHARE if self._is_throttled else 1.0):
            self._is_throttled = True
            paused = consumer.assignment() - (first() - self._without_room)
        else:
            self._is_throttled = False
            self._without_room.clear()
            paused = set()
        self._waiting = paused | full | self._due_at.keys()
        paused = self._waiting | self._kept.partitions
        consumer.pause(paused)
        consumer.resume(consumer.assignment() - paused)
