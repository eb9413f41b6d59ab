"""The partition of a keyed record that a transaction writes. Pure.

Owns: that a key has one partition, whoever writes it. Does not own: partitions that a service
chooses itself (Output.partition).
"""

from __future__ import annotations

import zlib

from kafka.partitioner.default import murmur2

from shared.topics.names import RETURNED


def partition_of(topic: str, key: bytes, partitions: int) -> int:
    """Return the partition of a record of this topic with this key."""
    if topic == RETURNED:
        # The bounce door writes it too, without a transaction.
        return partition_of_key(key, partitions)
    # The library's own hash is written in Python and costs 11 us per record.
    return zlib.crc32(key) % partitions


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition that a Kafka client chooses for a key by itself."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
