"""Returns the known and the stuck positions of a consumer, without a request to the broker.

Written for kafka-python 3.0.12, whose KafkaConsumer.position() asks the broker and waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kafka.errors import IllegalStateError
from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic

_LOOK_S: Final = 1.0


def known_positions(consumer: Any) -> dict[TopicPartition, int]:
    """Return the known offsets of the next record, per assigned partition."""
    found = consumer._subscription.all_consumed_offsets()
    return {partition: position.offset for partition, position in found.items()}


def has_read_all(consumer: Any, partition: TopicPartition) -> bool:
    """Return True if all records of a partition were read, according to the last fetch.

    Records of open transactions are treated as unread. The result is False if the partition is not
    assigned.
    """
    try:
        end = consumer.highwater(partition)
    except IllegalStateError:  # the I/O thread has just removed this partition
        return False
    return end is not None and end == known_positions(consumer).get(partition)


def without_position(consumer: Any) -> set[TopicPartition]:
    """Return the assigned partitions whose committed offset is not known yet.

    While an open transaction commits an offset of a partition, the broker does not return the
    committed offset.
    """
    return set(consumer._subscription.missing_fetch_positions())


class UnconfirmedPositions:
    """Continues partitions whose position no broker confirms.

    When the leader of a partition changes, for example after a restart of the broker, the library
    asks the new leader whether the position is still valid, and does not read the partition until
    the answer arrives (KIP-320). If this request fails repeatedly, the partition would never be
    read again, although the member stays in its group. So after `patience_s` the same position is
    set again, and this new position needs no confirmation. No record is lost or read twice, because
    Sluice relies only on records that all replicas acknowledged, and such records are never
    truncated.
    """

    def __init__(
        self, consumer: Any, patience_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._consumer = consumer
        self._patience_s = patience_s
        self._clock = clock
        self._since: dict[TopicPartition, float] = {}
        self._next_look = float("-inf")

    def overdue(self) -> dict[TopicPartition, int]:
        """Return the positions that have been unconfirmed for `patience_s`, for seek().

        The method checks the partitions at most once per second. Calls between two checks return
        {}.
        """
        now = self._clock()
        if now < self._next_look:
            return {}
        self._next_look = now + _LOOK_S
        subscription = self._consumer._subscription
        waiting = {
            partition: self._since.get(partition, now)
            for partition in self._consumer.assignment()
            if subscription.is_offset_validation_needed(partition)
        }
        self._since = waiting
        late = {each for each, since in waiting.items() if now - since >= self._patience_s}
        return {each: at for each, at in known_positions(self._consumer).items() if each in late}
