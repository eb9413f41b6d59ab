"""Pauses partitions while too much is in flight or while their next record is not due.

What was polled of a partition that has to wait is kept and read first (kept_records.py), as far as
there is room; otherwise it is fetched again. A shelf's records are always fetched again: what its
consumer has read of it is what is handed out (handovers.py).

Owns: the pauses, and that each ends with its reason. Does not own: the limits (jobs.py), the time
when a record is due (the service), the messages in flight (worker.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.kept_records import KeptRecords

# Reading resumes below this share of the limit in flight; avoids flapping.
RESUME_SHARE: Final = 0.75


class PartitionPauser:
    """The pauses of one consumer. Use it only in the Kafka thread."""

    def __init__(self, shelf_topic: str = "") -> None:
        self._shelf_topic = shelf_topic
        self._kept = KeptRecords()
        self._due_at: dict[TopicPartition, float] = {}
        self._is_throttled = False
        # Partitions whose next record does not fit.
        self._without_room: set[TopicPartition] = set()
        # What is not to be read at present, whether from the consumer or of what is kept.
        self._waiting: Set[TopicPartition] = frozenset()

    @property
    def has_ready(self) -> bool:
        """Whether take_ready() would return anything."""
        return bool(self._kept.partitions - self._waiting)

    def take_ready(self) -> dict[TopicPartition, Sequence[Record]]:
        """Return the kept records of the partitions that are not to wait any longer."""
        return {each: self._kept.take(each) for each in self._kept.partitions - self._waiting}

    def sleep(
        self,
        consumer: StreamConsumer,
        partition: TopicPartition,
        records: Sequence[Record],
        seconds: float,
    ) -> None:
        """Pause this partition until the first of these records is due, in `seconds`."""
        self.keep(consumer, partition, records)
        consumer.pause([partition])
        self._due_at[partition] = monotonic() + seconds

    def wait_for_room(
        self, consumer: StreamConsumer, partition: TopicPartition, records: Sequence[Record]
    ) -> None:
        """Read this partition on with these records, once less is in flight."""
        self.keep(consumer, partition, records)
        self._without_room.add(partition)
        self._is_throttled = True

    def keep(
        self, consumer: StreamConsumer, partition: TopicPartition, records: Sequence[Record]
    ) -> None:
        """Read this partition on with these records, which were polled last."""
        is_shelf = partition.topic == self._shelf_topic
        if records and (is_shelf or not self._kept.keep(partition, records)):
            consumer.seek(partition, records[0].offset)

    def forget(self, partition: TopicPartition) -> None:
        """Forget a partition that another member reads now."""
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
        """Pause and resume partitions; `fill` is the share of the limit that is in flight.

        `full`: partitions whose ledgers are full. `first`: asked for those that are read
        whatever is in flight, up to a record that does not fit.
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
