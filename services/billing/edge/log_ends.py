"""Asks Kafka on demand for the present end offsets of mail.events.

Thread-safe: one query at a time, each bounded in time. The client is created on first use and
recreated after an error.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.runtime.errors import Unavailable
from shared.stream.client import ClientOptions, make_consumer
from shared.topics.names import EVENTS

ASK_TIMEOUT_MS: Final = 5_000


class KafkaUnavailable(Unavailable):
    """Kafka did not answer, or has no mail.events."""


class LogEnds(Struct, frozen=True):
    """The topic's id, and the offset after the last committed record by partition."""

    log: str
    ends: dict[int, int]


class EndsAsker:
    """Asks for the end offsets of mail.events."""

    def __init__(self, options: ClientOptions, topic: str = EVENTS) -> None:
        self._topic = topic
        self._options = options
        self._lock = threading.Lock()
        self._consumer: Any = None

    def ask(self) -> LogEnds:
        """The present end offsets. Raises KafkaUnavailable."""
        with self._lock:
            try:
                return self._ask()
            except KafkaError as error:
                self._drop()
                raise KafkaUnavailable(f"Kafka: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _ask(self) -> LogEnds:
        if self._consumer is None:
            self._consumer = make_consumer(self._options, None)
        # This also finds partitions that were added in the meantime.
        numbers = self._consumer.partitions_for_topic(self._topic)
        found_id = self._consumer._cluster.topic_id(self._topic)
        if not numbers or found_id is None:
            raise KafkaUnavailable(f"Kafka has no topic {self._topic}")
        partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        found = self._consumer.end_offsets(partitions, timeout_ms=ASK_TIMEOUT_MS)
        return LogEnds(str(found_id), {each.partition: end for each, end in found.items()})

    def _drop(self) -> None:
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1_000)
            self._consumer = None
