"""Keeps a producer from losing requests, and from waiting when it is closed.

Written for kafka-python 3.0.12:

- If the coordinator is unavailable, await_ready() raises. The sender then looks up the coordinator
  again, but has lost the request that it was about to send: a commit waits forever. If
  await_ready() returns False instead, the request goes back into the queue (keep_requests). It can
  be removed when tests/chaos/test_broker_stop.py passes without it.
- close() flushes first and would wait for an unavailable broker (discard).
- A producer has no method that says whether it knows a topic (knows, known_partitions,
  wait_for_topic), or which partitions its records wait for (unwritten).
- It requests the metadata of a topic when the first record for the topic is sent, which waits for
  the answer, about 0.1 s per topic (ask_for_topics).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

# One answer may belong to an earlier request, which did not name the topic.
_MOST_MISSED: Final = 2


def keep_requests(producer: Any) -> None:
    """Keep the sender from losing a transactional request. Call it once."""
    client = producer._sender._client
    await_ready = client.await_ready

    def is_ready(node_id: Any, timeout_ms: int = 30_000) -> bool:
        try:
            return bool(await_ready(node_id, timeout_ms))
        except KafkaError:
            return False

    client.await_ready = is_ready


def discard(producer: KafkaProducer) -> None:
    """Close without waiting."""
    with contextlib.suppress(Exception):
        producer.close(timeout=0)
    with contextlib.suppress(Exception):
        # If close() raised, the sender thread may still be running.
        producer._sender.force_close()
        producer._closed = True


def knows(producer: Any, topic: str) -> bool:
    """Whether the producer has metadata of the topic: it has written to it, or asked for it."""
    return bool(producer._metadata.partitions_for_topic(topic))


def known_partitions(producer: Any, topic: str) -> Collection[int]:
    """Return the partitions of a topic; none if the producer does not know it (see knows)."""
    found: Collection[int] = producer._metadata.partitions_for_topic(topic) or ()
    return found


def unwritten(producer: Any) -> list[TopicPartition]:
    """Return the partitions for which records wait, sorted."""
    return sorted({batch.topic_partition for batch in producer._accumulator._incomplete.all()})


def ask_for_topics(producer: Any, topics: Collection[str]) -> None:
    """Ask for the metadata of these topics in one request, without waiting for the answer.

    The producer must be new, and not have asked for topics before. A topic that does not exist is
    no error here; the first record for it waits as usual. Until then the topic is not asked for
    again: the library would ask, and log an error, ten times per second.
    """
    missed: Counter[str] = Counter()

    def forget_missing(cluster: Any) -> None:
        for topic in topics:
            if missed[topic] < _MOST_MISSED and not cluster.partitions_for_topic(topic):
                missed[topic] += 1
                if missed[topic] == _MOST_MISSED:
                    cluster._topics.discard(topic)

    if topics:
        producer._metadata.add_listener(forget_missing)
        # All at once: answers to requests for some of them would count as missed by the others.
        producer._metadata.set_topics(topics)
        producer._sender.wakeup()


def wait_for_topic(producer: Any, topic: str, timeout_ms: int) -> None:
    """Wait until the producer knows the topic. Raises KafkaTimeoutError."""
    producer._wait_on_metadata(topic, timeout_ms)
