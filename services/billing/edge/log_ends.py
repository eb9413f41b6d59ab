"""Asks Kafka for the present end offsets of mail.events when they are needed.

Thread-safe. Only one query runs at a time, and each query has a time limit. The Kafka client is
created on first use and recreated after an error.
"""

from __future__ import annotations

import threading

from kafka.errors import KafkaError
from msgspec import Struct

from shared.runtime.errors import Unavailable
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader
from shared.topics.names import EVENTS


class KafkaUnavailable(Unavailable):
    """Kafka did not answer, or Kafka has no topic mail.events."""


class LogEnds(Struct, frozen=True):
    """The id of the topic, and the offset after the last committed record of each partition."""

    log: str
    ends: dict[int, int]


class EndsAsker:
    """Asks for the end offsets of mail.events."""

    def __init__(self, options: ClientOptions, topic: str = EVENTS) -> None:
        self._topic = topic
        self._options = options
        self._lock = threading.Lock()
        self._reader: LogReader | None = None

    def ask(self) -> LogEnds:
        """Return the present end offsets. Raises KafkaUnavailable."""
        with self._lock:
            try:
                return self._ask()
            except KafkaError as error:
                self._drop()
                raise KafkaUnavailable(f"Kafka: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _ask(self) -> LogEnds:
        if self._reader is None:
            self._reader = LogReader(self._options, self._topic)
        # Refresh the metadata to find partitions that were added after the client was created.
        partitions = self._reader.partitions()
        if not partitions:
            raise KafkaUnavailable(f"Kafka has no topic {self._topic}")
        return LogEnds(self._reader.topic_id(), self._reader.ends(partitions))

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
