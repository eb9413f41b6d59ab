"""Pauses partitions while too much is in flight or while their next record is not due.

What was polled of a partition that has to wait is kept and read first, as far as
there is room; otherwise it is fetched again. A shelf's records are always fetched again: what its
consumer has read of it is what is handed out (handovers.py).

Owns: the pauses, and that each ends with its reason. Does not own: the limits (jobs.py), the time
when a record is due (the service), the messages in flight (worker.py).

Reading on from an earlier offset makes the client drop what it has fetched of that partition and
fetch it again, up to PARTITION_FETCH_BYTES. On a retry topic each record has a due time of its own,
so that would be a fetch per message; here the rest of a poll is kept instead. The records of a
partition are returned once, in their order; a partition that another member reads is forgotten with
its records. A kept record is handed out to nobody: if the process dies, its successor reads it from
Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Final

from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic
from shared.stream.consumer import Record, StreamConsumer

# All kept records together; a poll returns about as much at most.
MOST_BYTES: Final = 16 * 1024 * 1024
# Reading resumes below this share of the limit in flight; avoids flapping.
RESUME_SHARE: Final = 0.75


class KeptRecords:
    """The records of one consumer. Use it only in the Kafka thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[TopicPartition, Sequence[Record]] = {}
        self._bytes: dict[TopicPartition, int] = {}

    @property
    def partitions(self) -> Set[TopicPartition]:
        """The partitions of which records are kept."""
        return self._kept.keys()

    def keep(self, partition: TopicPartition, records: Sequence[Record]) -> bool:
        """Keep these, the next ones of their partition; return False if there is no room."""
        size = sum(len(record.value or b"") for record in records)
        if sum(self._bytes.values()) + size > self._most_bytes:
            return False
        self._kept[partition] = records
        self._bytes[partition] = size
        return True

    def take(self, partition: TopicPartition) -> Sequence[Record]:
        """Return the records of this partition, and forget them."""
        self._bytes.pop(partition, None)
        return self._kept.pop(partition, ())


class PartitionPauser:
    """The pauses of one consumer. Use it only in the Kafka thread."""

    def __init__(self, shelf_topic: str = "") -> None:
        self._shelf_topic = shelf_topic
        self._kept = KeptRecords()
        self._due_at: dict[TopicPartition, float] = {}
        self._is_throttled = False
        # Partitions whose next record does not fit.
        self._without_room: set[TopicPartition] = set()
        # The partitions not to read at present, neither from the consumer nor from kept records.
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
