"""Returns the known positions of a consumer without a request to the broker.

Written for kafka-python 3.0.12, whose KafkaConsumer.position() asks the broker and waits.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import IllegalStateError
from kafka.structs import TopicPartition


def known_positions(consumer: Any) -> dict[TopicPartition, int]:
    """Return the known offsets of the next record, per assigned partition."""
    found = consumer._subscription.all_consumed_offsets()
    return {partition: position.offset for partition, position in found.items()}


def has_read_all(consumer: Any, partition: TopicPartition) -> bool:
    """Return whether all records of a partition were read, according to the last fetch.

    Records of open transactions count as not read. The result is False if the partition is not
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
