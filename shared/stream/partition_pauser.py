"""Pauses partitions while too much is in flight or while their next record is not due.

Owns: the pauses, and that each ends with its reason. Does not own: the limits (jobs.py), the time
when a record is due (the service), the messages in flight (worker.py).
"""

from __future__ import annotations

import time
from collections.abc import Set
from typing import Final

from kafka.structs import TopicPartition

from shared.stream.consumer import StreamConsumer

# Reading resumes below this share of the limit in flight; avoids flapping.
RESUME_SHARE: Final = 0.75


class PartitionPauser:
    """The pauses of one consumer. Use it only in the Kafka thread."""

    def __init__(self) -> None:
        self._due_at: dict[TopicPartition, float] = {}
        self._is_throttled = False

    def sleep(
        self, consumer: StreamConsumer, partition: TopicPartition, offset: int, seconds: float
    ) -> None:
        """Pause this partition until the record at `offset` is due, in `seconds`."""
        consumer.seek(partition, offset)
        consumer.pause([partition])
        self._due_at[partition] = time.monotonic() + seconds

    def wait_for_room(
        self, consumer: StreamConsumer, partition: TopicPartition, offset: int
    ) -> None:
        """Read this partition again, from `offset`, once less is in flight."""
        consumer.seek(partition, offset)
        self._is_throttled = True

    def forget(self, partition: TopicPartition) -> None:
        """Forget a partition that another member reads now."""
        self._due_at.pop(partition, None)

    def settle(self, consumer: StreamConsumer, fill: float, full: Set[TopicPartition]) -> None:
        """Pause and resume partitions; `fill` is the share of the limit that is in flight.

        `full`: partitions whose ledgers are full.
        """
        now = time.monotonic()
        for partition in [p for p, at in self._due_at.items() if at <= now]:
            del self._due_at[partition]
        if fill >= (RESUME_SHARE if self._is_throttled else 1.0):
            self._is_throttled = True
            consumer.pause(consumer.assignment())
            return
        self._is_throttled = False
        paused = full | self._due_at.keys()
        consumer.pause(paused)
        consumer.resume(consumer.assignment() - paused)
