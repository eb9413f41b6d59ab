"""Reads mail.clients up to its present end, and applies each record to a table of clients.

Owns: the connection and its position in the topic. Does not own: when it is read (view.py follows
it, publish.py reads it before writing). Raises kafka.errors.KafkaError.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from shared.registry.client import Client, decode_client
from shared.runtime.deadline import Deadline
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.names import CLIENTS

log = logging.getLogger(__name__)

_PARTITION: Final = 0
_POLL_MS: Final = 100


class Reading:
    """A reader of mail.clients; `clients` holds the result so far. Not thread-safe."""

    def __init__(self, kafka: KafkaSettings, instance: str = "registry") -> None:
        self.clients: dict[str, Client] = {}
        self.unreadable = 0
        self._reader = LogReader(ClientOptions(kafka.bootstrap, instance), CLIENTS)
        self._reader.read_from({_PARTITION: 0})

    def has_topic(self) -> bool:
        """Whether mail.clients exists."""
        return bool(self._reader.partitions())

    def end_offset(self) -> int:
        """Return the present end of the topic, counting committed records only."""
        return self._reader.ends([_PARTITION])[_PARTITION]

    def position(self) -> int:
        """Return the offset of the next record; -1 before the first answer."""
        return self._reader.position(_PARTITION)

    def read_to_end(self, deadline: Deadline) -> bool:
        """Read up to the present end; return whether it was reached in time."""
        end = self.end_offset()
        while self.position() < end:
            if deadline.is_over():
                return False
            self.poll()
        return True

    def poll(self) -> None:
        """Wait briefly for records and apply them."""
        for record in self._reader.poll(_POLL_MS).get(_PARTITION, ()):
            self._apply(record)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

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
        except (ValueError, RecursionError) as error:  # raised by msgspec
            self.unreadable += 1
            fields = {"key": name, "offset": record.offset, "reason": str(error)}
            log.warning("client record cannot be read", extra=fields)
