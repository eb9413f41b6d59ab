"""The positions of a consumer as far as they are known, without asking the broker.

KafkaConsumer.position() asks the broker and waits. Written for kafka-python 3.0.12.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import IllegalStateError
from kafka.structs import TopicPartition


def known_positions(consumer: Any) -> dict[TopicPartition, int]:
    """Return by assigned partition the offset of the next record, if it is known."""
    found = consumer._subscription.all_consumed_offsets()
    return {partition: position.offset for partition, position in found.items()}


def has_read_all(consumer: Any, partition: TopicPartition) -> bool:
    """Whether all records of a partition have been read, as far as the last fetch shows.

    Records of open transactions count as not read. False if the partition is not assigned.
    """
    try:
        end = consumer.highwater(partition)
    except IllegalStateError:  # the I/O thread has just removed the partition
        return False
    return end is not None and end == known_positions(consumer).get(partition)


def without_position(consumer: Any) -> set[TopicPartition]:
    """Return the assigned partitions whose committed offset the broker has not returned yet.

    It returns none while a transaction that commits an offset of the partition is open.
    """
    return set(consumer._subscription.missing_fetch_positions())
