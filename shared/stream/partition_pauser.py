"""Pauses partitions while too much is in flight or while their next record is not due.

Owns: the pauses, and that each ends with its reason. Does not own: the limits (jobs.py), the time
when a record is due (the service), the messages in flight (worker.py).
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic
from shared.stream.consumer import StreamConsumer

# Reading resumes below this share of the limit in flight; avoids flapping.
RESUME_SHARE: Final = 0.75


class PartitionPauser:
    """The pauses of one consumer. Use it only in the Kafka thread."""

    def __init__(self) -> None:
        self._due_at: dict[TopicPartition, float] = {}
        self._is_throttled = False
        # Partitions whose next record does not fit.
        self._without_room: set[TopicPartition] = set()

    def sleep(
        self, consumer: StreamConsumer, partition: TopicPartition, offset: int, seconds: float
    ) -> None:
        """Pause this partition until the record at `offset` is due, in `seconds`."""
        consumer.seek(partition, offset)
        consumer.pause([partition])
        self._due_at[partition] = monotonic() + seconds

    def wait_for_room(
        self, consumer: StreamConsumer, partition: TopicPartition, offset: int
    ) -> None:
        """Read this partition again, from `offset`, once less is in flight."""
        consumer.seek(partition, offset)
        self._without_room.add(partition)
        self._is_throttled = True

    def forget(self, partition: TopicPartition) -> None:
        """Forget a partition that another member reads now."""
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
        paused |= full | self._due_at.keys()
        consumer.pause(paused)
        consumer.resume(consumer.assignment() - paused)
