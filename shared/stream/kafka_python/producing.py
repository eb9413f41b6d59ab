"""Keeps a producer from losing requests, and from waiting at its end.

Written for kafka-python 3.0.12:

- If the coordinator is unavailable, await_ready() raises. The sender then looks up the coordinator
  again, but has lost the request that it was about to send: a commit waits forever. If
  await_ready() returns False instead, the request goes back into the queue (keep_requests). It can
  be removed when tests/chaos/test_broker_stop.py passes without it.
- close() flushes first and would wait for an unavailable broker (discard).
- A producer has no method that says whether it knows a topic (knows, known_partitions,
  wait_for_topic).
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError


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
    """Whether the producer's metadata has the topic: only topics that it has written to."""
    return bool(producer._metadata.partitions_for_topic(topic))


def known_partitions(producer: Any, topic: str) -> Collection[int]:
    """The partitions of a topic that the producer has written to; none if it does not know it."""
    found: Collection[int] = producer._metadata.partitions_for_topic(topic) or ()
    return found


def wait_for_topic(producer: Any, topic: str, timeout_ms: int) -> None:
    """Wait until the producer knows the topic. Raises KafkaTimeoutError."""
    producer._wait_on_metadata(topic, timeout_ms)
