"""Reads mail.clients up to its present end, and applies each record to a table of clients.

This module owns the connection and its position in the topic. The callers decide when the topic is
read: view.py follows the topic, and publish.py reads the topic before each write. All methods may
raise kafka.errors.KafkaError.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from shared.registry.client import REMOVED_PREFIX, Client, decode_client
from shared.runtime.clock import Deadline
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.names import CLIENTS

log = logging.getLogger(__name__)

_PARTITION: Final = 0
# The longest time that poll() waits. A new record ends the wait early. A refresh of the view and
# close() must wait until poll() returns.
_POLL_MS: Final = 250


class Reading:
    """Reads mail.clients. `clients` are the registered clients that were read so far. Not
    thread-safe.

    `by_domain` has the names of clients by their sending domain. `kept` has the removed clients by
    name.
    """

    def __init__(self, options: ClientOptions) -> None:
        self.clients: dict[str, Client] = {}
        self.kept: dict[str, Client] = {}
        self.by_domain: dict[str, str] = {}
        self.unreadable = 0
        self._reader = LogReader(options, CLIENTS, is_following=True)
        self._reader.read_from({_PARTITION: 0})

    def has_topic(self) -> bool:
        """Return True if mail.clients exists."""
        return bool(self._reader.partitions())

    def end_offset(self) -> int:
        """Return the present end of the topic, which is the offset after the last committed
        record."""
        return self._reader.ends([_PARTITION])[_PARTITION]

    def position(self) -> int:
        """Return the offset of the next record. Return -1 before Kafka has answered for the first
        time."""
        return self._reader.position(_PARTITION)

    def read_to_end(self, deadline: Deadline) -> bool:
        """Read up to the present end of the topic. Return True if this end was reached before the
        deadline."""
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
            self.unreadable += 1  # the fetcher has already logged this record
            return
        name = (record.key or b"").decode("utf-8", "replace")
        try:
            self._set(name, decode_client(name, record.value) if record.value is not None else None)
        except (ValueError, RecursionError) as error:  # raised by msgspec
            self.unreadable += 1
            fields = {"key": name, "offset": record.offset, "reason": str(error)}
            # The text contains the values of the fields, too, because commands print only the text.
            text = "the record of client %r at offset %d of mail.clients cannot be read: %s"
            log.warning(text, name, record.offset, error, extra=fields)

    def _set(self, name: str, client: Client | None) -> None:
        if name.startswith(REMOVED_PREFIX):
            self._keep(name.removeprefix(REMOVED_PREFIX), client)
            return
        before = self.clients.get(name)
        if client is None:
            self.clients.pop(name, None)
        else:
            self.clients[name] = client
            self.by_domain[client.sending_domain] = name
        if before is None or (client and client.sending_domain == before.sending_domain):
            return
        # The domain may already belong to another client.
        if self.by_domain.get(before.sending_domain) == name:
            del self.by_domain[before.sending_domain]

    def _keep(self, name: str, client: Client | None) -> None:
        if client is None:
            self.kept.pop(name, None)
        else:
            self.kept[name] = client
