"""Hands the records of one transaction to its producer.

Owns: the partition of each record, and that records of one partition keep their order. Does not
own: the transaction (transactions.py), how a batch is made (kafka_python/bulk_sending.py). Nothing
is certain before the transaction has committed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from kafka import KafkaProducer
from kafka.structs import TopicPartition

from shared.stream.kafka_python.bulk_sending import SentRecord, append_all
from shared.stream.kafka_python.producing import known_partitions
from shared.stream.partitioning import partition_of

# After flush() all offsets are there, or an error is.
PLACED_TIMEOUT_S: Final = 1.0
# The fields of an Output (transactions.py).
Outgoing = tuple[str, bytes | None, bytes | None, Sequence[tuple[str, bytes]], int | None]


def send_all(producer: KafkaProducer, outputs: Sequence[Outgoing]) -> list[Any]:
    """Send these records in the open transaction; return the future of each. Raises KafkaError.

    A future is one of kafka-python's or a SentRecord. The producer chooses the partition of a
    record that has neither one nor a key.
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
