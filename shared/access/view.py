"""Provides a live view of the access keys by following mail.access from its beginning.

A thread reads the topic without a consumer group; a change of a key takes effect within a second.
While Kafka is unavailable, the view stays unchanged for at most MAX_STALE_S; after that time the
process accepts no key, because it would not see revocations. After a reconnect the topic is read
into a new view. When the new view is complete, it replaces the old view. If a record cannot be
read, its key is removed from the view.

The same thread sums up denied uses, and writes the sums to mail.access-log every LOG_EVERY_S. If
writing fails, these denied uses are lost, and the process logs a warning.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError

from shared.access.checking import AuditEntry, Denial, DenialSums, Grant, check, encode_entry
from shared.access.keys import AccessKey
from shared.access.topic import PARTITION, apply_record
from shared.runtime.clock import Clock
from shared.runtime.threads import EnduringThread
from shared.stream.client import ClientOptions, make_producer
from shared.stream.log_reader import LogReader
from shared.topics import names

log = logging.getLogger(__name__)

MAX_STALE_S: Final = 300.0
LOOK_EVERY_S: Final = 2.0
LOG_EVERY_S: Final = 10.0
_POLL_MS: Final = 100
_WRITE_TIMEOUT_S: Final = 5.0


class KeyView:
    """A view of the access keys. All methods may be called from any thread."""

    def __init__(
        self,
        options: ClientOptions,
        service: str,
        clock: Clock,
        *,
        topic: str = names.ACCESS,
        log_topic: str = names.ACCESS_LOG,
    ) -> None:
        self._options = options
        self._service = service
        self._clock = clock
        self._topic = topic
        self._log_topic = log_topic
        self._keys: dict[str, AccessKey] = {}
        self._fresh_at: float | None = None  # None if the topic has not been read yet
        self._told = ""
        self._thread = EnduringThread(
            "key-view",
            self._follow,
            expected=(KafkaError,),
            failed=self._failed,
            ended=self._end,
        )
        self._lock = threading.Lock()
        self._denials = DenialSums()
        self._log_at = 0.0
        self._producer: Any = None

    def start(self) -> None:
        """Start the thread, and return at once."""
        self._thread.start()

    def check(self, header: str | None) -> Grant | Denial:
        """Check the Authorization header of a request."""
        return check(header, self._keys, self._clock.now_ms())

    def fault(self) -> str:
        """Return the reason why no key can be checked now, or "" if keys can be checked."""
        if self._fresh_at is None:
            return f"{self._topic} has not been read yet"
        if self._clock.monotonic() - self._fresh_at > MAX_STALE_S:
            return f"{self._topic} cannot be read"
        return ""

    def deny(self, denial: Denial, peer: str) -> None:
        """Add a denied use to the audit log."""
        with self._lock:
            self._denials.add(denial, peer)

    def keys(self) -> Mapping[str, AccessKey]:
        """Return a copy of all keys by id."""
        return self._keys.copy()

    def close(self) -> None:
        """Write the last denied uses, and stop."""
        self._thread.close()

    def _failed(self, reason: str) -> None:
        if reason != self._told:
            log.warning("access keys cannot be read", extra={"reason": reason})
        self._told = reason

    def _end(self) -> None:
        self._write_denials(0.0)
        if self._producer is not None:
            self._producer.close(timeout=_WRITE_TIMEOUT_S)

    def _follow(self) -> None:
        """Follow the topic from its beginning until close() or until it is recreated."""
        with closing(LogReader(self._options, self._topic, is_following=True)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaError(f"Kafka has no topic {self._topic}")
            topic_id, keys = reader.topic_id(), dict[str, AccessKey]()
            reader.read_from({PARTITION: 0})
            while not self._thread.is_closing and reader.topic_id() == topic_id:
                # The clock is read before Kafka is asked for the ends, because a pause between
                # these two steps must not make the ends seem newer than they are.
                asked_at, ends = self._clock.monotonic(), reader.ends([PARTITION])
                while not reader.has_reached(ends) and not self._thread.is_closing:
                    self._poll(reader, keys)
                self._keys, self._fresh_at, self._told = keys, asked_at, ""
                while self._clock.monotonic() < asked_at + LOOK_EVERY_S:
                    if self._thread.is_closing:
                        return
                    self._poll(reader, keys)
                self._write_denials(LOG_EVERY_S)

    def _poll(self, reader: LogReader, keys: dict[str, AccessKey]) -> None:
        for record in reader.poll(_POLL_MS).get(PARTITION, ()):
            if fault := apply_record(keys, record):
                fields = {"offset": record.offset, "reason": fault}
                log.warning("the record of an access key cannot be read", extra=fields)

    def _write_denials(self, every_s: float) -> None:
        if self._clock.monotonic() < self._log_at + every_s:
            return
        self._log_at = self._clock.monotonic()
        with self._lock:
            entries = self._denials.take(self._clock.now_ms(), self._service)
        if not entries:
            return
        for entry in entries:
            fields = {"key": entry.key, "peer": entry.peer, "uses": entry.count}
            log.warning("access denied: %s", entry.reason, extra=fields)
        try:
            self._send(entries)
        except KafkaError as error:
            fields = {"entries": len(entries), "reason": str(error)}
            log.warning("denied uses could not be written to the audit log", extra=fields)

    def _send(self, entries: list[AuditEntry]) -> None:
        if self._producer is None:
            self._producer = make_producer(self._options, None, linger_ms=0)
        sent = [
            self._producer.send(self._log_topic, encode_entry(entry), None, [], PARTITION)
            for entry in entries
        ]
        for future in sent:
            future.get(timeout=_WRITE_TIMEOUT_S)
