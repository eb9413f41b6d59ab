"""Prevents that a producer loses a request, or waits for a broker when the producer is closed.

Written for kafka-python 3.0.12:

- If the coordinator is unavailable, await_ready() raises an error. The sender then looks up the
  coordinator again, but it has lost the request that it was about to send, so a commit waits
  forever. keep_requests() makes await_ready() return False instead, and then the sender puts the
  request back into its queue. This function can be removed when tests/chaos/test_broker_stop.py
  passes without it.
- close() first flushes, so it waits for an unavailable broker. discard() does not wait.
- A producer has no method that returns whether it knows a topic. This module has knows(),
  known_partitions() and wait_for_topic(). A producer also has no method that returns the partitions
  with waiting records. This module has unwritten().
- A producer requests the metadata of a topic only when the first record for the topic is sent. That
  record then waits for the answer, about 0.1 s per topic. So this module has ask_for_topics().
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

# A topic is missing if two answers do not contain it. The first answer may belong to an earlier
# request, which did not contain the topic.
_MOST_MISSED: Final = 2


def keep_requests(producer: Any) -> None:
    """Prevent the sender from losing a transactional request. Call this once per producer."""
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
        # If close() raised an error, the sender thread may still be running.
        producer._sender.force_close()
        producer._closed = True


def knows(producer: Any, topic: str) -> bool:
    """Return True if the producer already has the topic's metadata."""
    return bool(producer._metadata.partitions_for_topic(topic))


def known_partitions(producer: Any, topic: str) -> Collection[int]:
    """Return the partitions of a topic. Return () if the producer does not know the topic."""
    found: Collection[int] = producer._metadata.partitions_for_topic(topic) or ()
    return found


def unwritten(producer: Any) -> list[TopicPartition]:
    """Return the partitions that still have waiting records, sorted."""
    return sorted({batch.topic_partition for batch in producer._accumulator._incomplete.all()})


def ask_for_topics(producer: Any, topics: Collection[str]) -> None:
    """Ask for the metadata of these topics in one request, without waiting for the answer.

    The producer must be new and must not have requested topics before. A missing topic is not an
    error here. The first record for the topic waits as usual. Until then the topic is not requested
    again, because the library would request it ten times per second and log an error each time.
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
        # Request all topics at once, because an answer about only some topics would be counted as a
        # miss for the other topics.
        producer._metadata.set_topics(topics)
        producer._sender.wakeup()


def wait_for_topic(producer: Any, topic: str, timeout_ms: int) -> None:
    """Wait until the producer knows the topic. Raises KafkaTimeoutError."""
    producer._wait_on_metadata(topic, timeout_ms)
