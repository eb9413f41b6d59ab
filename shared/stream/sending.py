"""Passes the records of one transaction to the producer.

This module owns the choice of each record's partition, and the order of records within a partition.
All writers choose the same partition for a key. This module does not own the transaction
(transactions.py), the partitions that a service chooses itself (Output.partition), and the
structure of batches (kafka_python/bulk_sending.py). A record must not be treated as written before
the transaction is committed.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from typing import Any, Final

from kafka import KafkaProducer
from kafka.partitioner.default import murmur2
from kafka.structs import TopicPartition

from shared.stream.kafka_python.bulk_sending import SentRecord, add_partitions, append_all
from shared.stream.kafka_python.producing import known_partitions
from shared.topics.names import RETURNED

# After flush(), each record already has an offset or an error, so this wait is short.
PLACED_TIMEOUT_S: Final = 1.0
# Outgoing has the fields of an Output (transactions.py).
Outgoing = tuple[str, bytes | None, bytes | None, Sequence[tuple[str, bytes]], int | None]


def partition_of(topic: str, key: bytes, partitions: int) -> int:
    """Return the partition of a record of this topic with this key."""
    if topic == RETURNED:
        # The bounce door also writes to this topic, and lets the client choose the partition.
        return partition_of_key(key, partitions)
    # The library's own hash is written in Python and takes 11 us per record.
    return zlib.crc32(key) % partitions


def partition_of_key(key: bytes, partitions: int) -> int:
    """Return the partition that a Kafka client chooses for a key by default."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def send_all(producer: KafkaProducer, outputs: Sequence[Outgoing]) -> list[Any]:
    """Send these records in the open transaction. Return one future per record. Raises KafkaError.

    A future is a kafka-python future or a SentRecord. If a record has neither a partition nor a
    key, the producer chooses its partition.
    """
    futures: list[Any] = [None] * len(outputs)
    together: dict[TopicPartition, list[int]] = {}
    known: dict[str, Collection[int]] = {}
    for place, (topic, value, key, headers, chosen) in enumerate(outputs):
        if not (partitions := known.get(topic)):
            partitions = known[topic] = known_partitions(producer, topic)
        partition = chosen
        if partition is None and key is not None:
            partition = partition_of(topic, key, len(partitions or producer.partitions_for(topic)))
        if partition in partitions:
            together.setdefault(TopicPartition(topic, partition), []).append(place)
        else:
            futures[place] = producer.send(topic, value, key, list(headers), partition)
    if together:
        add_partitions(producer, together)
    for at, places in together.items():
        found = append_all(producer, at, [outputs[place][1:4] for place in places])
        for place, future in zip(places, found, strict=True):
            futures[place] = future
    return futures


def offset_of(future: Any) -> int:
    """Return the offset of a record after the producer's flush(). Raises KafkaError."""
    if not isinstance(future, SentRecord):
        return int(future.get(PLACED_TIMEOUT_S).offset)
    if future.exception is not None:
        raise future.exception
    return future.offset
