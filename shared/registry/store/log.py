"""Reads mail.clients: each record applied to a table of clients, up to the topic's present end.

Owns: the connection and its place in the topic. Does not own: when it is read (view.py follows it,
publish.py reads it before it writes). Raises kafka.errors.KafkaError.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from kafka import TopicPartition

from shared.registry.client import Client, decode_client
from shared.runtime.deadline import Deadline
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, make_consumer, position_of
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics.names import CLIENTS

log = logging.getLogger(__name__)

_PARTITION: Final = TopicPartition(CLIENTS, 0)
# A broker answers one request of a connection after another: a question for the end offset
# waits behind a fetch, so fetches are short.
_FETCH_WAIT_MS: Final = 100
_POLL_MS: Final = 100
_ASK_TIMEOUT_MS: Final = 5_000
_CLOSE_TIMEOUT_MS: Final = 1_000


class Reading:
    """A place in mail.clients; what has been read stands in `clients`. Not thread-safe."""

    def __init__(self, kafka: KafkaSettings, instance: str = "registry") -> None:
        self.clients: dict[str, Client] = {}
        self.unreadable = 0
        self._consumer: Any = make_consumer(
            ClientOptions(kafka.bootstrap, instance),
            None,
            fetch_min_bytes=1,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        self._consumer.assign([_PARTITION])
        self._consumer.seek_to_beginning(_PARTITION)

    def has_topic(self) -> bool:
        """Whether mail.clients exists."""
        return CLIENTS in self._consumer.topics()

    def end_offset(self) -> int:
        """Where the topic ends now: the end of what is committed."""
        return int(self._consumer.end_offsets([_PARTITION], timeout_ms=_ASK_TIMEOUT_MS)[_PARTITION])

    def position(self) -> int:
        """How far it has been read; -1 before the first answer."""
        return position_of(self._consumer, _PARTITION, _ASK_TIMEOUT_MS)

    def read_to_end(self, deadline: Deadline) -> bool:
        """Read on to what is the end now; whether it was reached in time."""
        end = self.end_offset()
        while self.position() < end:
            if deadline.is_over():
                return False
            self.poll()
        return True

    def poll(self) -> None:
        """Wait a moment for records and apply what came."""
        for record in self._consumer.poll(timeout_ms=_POLL_MS).get(_PARTITION, ()):
            self._apply(record)

    def close(self) -> None:
        """End the connection."""
        self._consumer.close(timeout_ms=_CLOSE_TIMEOUT_MS)

    def _apply(self, record: Any) -> None:
        if isinstance(record, UndecodableRecord):
            self.unreadable += 1  # the fetcher has logged it
            return
        name = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            self.clients.pop(name, None)
            return
        try:
            self.clients[name] = decode_client(name, record.value)
        except (ValueError, RecursionError) as error:  # what msgspec raises
            self.unreadable += 1
            fields = {"key": name, "offset": record.offset, "reason": str(error)}
            log.warning("client record cannot be read", extra=fields)
