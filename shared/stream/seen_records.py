"""Removes records that the client library returns a second time.

This module owns the offset below which no record is returned, for each partition of one consumer.
It does not own the consumer (consumer.py).
"""

from __future__ import annotations

import logging
from typing import Any, Protocol, TypeVar

from kafka.structs import TopicPartition

from shared.stream.kafka_python.positions import known_positions
from shared.stream.rebalance_listener import RebalanceListener

log = logging.getLogger(__name__)


class _HasOffset(Protocol):
    """A record of a partition."""

    offset: int


R = TypeVar("R", bound=_HasOffset)


class SeenRecords:
    """The positions of one consumer. `losses` has the number of losses of each partition."""

    def __init__(self, consumer: Any, listener: RebalanceListener) -> None:
        self._consumer = consumer
        self._listener = listener
        # The number of losses of each partition, and the offset below which no record is returned.
        self._given: dict[TopicPartition, tuple[int, int]] = {}

    def note_positions(self, losses: dict[TopicPartition, int]) -> None:
        """Store the first position of each newly assigned partition, for unseen().

        The position can jump back even before the first record is returned, because the position
        also moves past transaction markers.
        """
        for partition, position in known_positions(self._consumer).items():
            count = losses.get(partition, 0)
            if self._given.get(partition, (-1, 0))[0] != count:
                self._given[partition] = count, position

    def unseen(
        self, found: dict[TopicPartition, list[R]], losses: dict[TopicPartition, int]
    ) -> dict[TopicPartition, list[R]]:
        """Remove records that were returned before. `losses` are the losses before the poll.

        When a partition's leader epoch changes (after a broker restart), kafka-python 3.0.12 asks
        the broker whether the consumer's position is still valid. The library interprets the answer
        "unknown epoch" as a truncated log, and silently continues from the beginning (KIP-320). But
        records that all replicas acknowledged are never truncated. So all records below the old
        position were already returned.
        """
        unseen: dict[TopicPartition, list[R]] = {}
        for partition, records in found.items():
            noted_at, given = self._given.get(partition, (0, 0))
            is_held = noted_at == self._listener.losses.get(partition, 0)
            if is_held and records[0].offset < given:
                log.warning(
                    "%s/%d jumped back to offset %d; reading continues from %d",
                    *partition,
                    records[0].offset,
                    given,
                )
                self._consumer.seek(partition, given)
                continue
            unseen[partition] = records
            # Store the count from before the poll, because these records may have to be returned
            # again if the partition was revoked during the poll.
            self._given[partition] = (losses.get(partition, 0), records[-1].offset + 1)
        return unseen

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read this partition from `offset` on, even if later records were returned before."""
        self._consumer.seek(partition, offset)
        self._given[partition] = (self._listener.losses.get(partition, 0), offset)
