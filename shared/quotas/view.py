"""A live view of billing.quotas: reads the topic from its beginning and follows it.

A thread reads without a consumer group; what billing writes is seen within a second. While Kafka
is unavailable the view stays as it is: whoever enforces a quota adds what it let pass itself
(validate, core/quotas.py). After a reconnect the topic is read into a new view, which replaces the
old one once it is complete. A record that cannot be read is logged and leaves the quota as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError

from shared.runtime.enduring_thread import EnduringThread
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.names import QUOTAS
from shared.topics.quotas import (
    BEAT,
    PARTITION,
    QuotaBeat,
    QuotaScope,
    QuotaState,
    decode_beat,
    decode_scope,
    decode_state,
)

log = logging.getLogger(__name__)

POLL_MS: Final = 100


class Quotas:
    """What the topic says, up to some record."""

    def __init__(self) -> None:
        self.states: dict[QuotaScope, QuotaState] = {}
        self.beat: QuotaBeat | None = None

    def add(self, record: Any) -> None:
        """Apply one record; log it if it cannot be read."""
        if isinstance(record, UndecodableRecord):
            return  # the fetcher has logged it
        try:
            self._apply(record.key or b"", record.value)
        except CodecError as error:
            fields = {"offset": record.offset, "reason": str(error)}
            # Commands print the text alone.
            text = "the record at offset %d of billing.quotas cannot be read: %s"
            log.error(text, record.offset, error, extra=fields)

    def _apply(self, key: bytes, value: bytes | None) -> None:
        if key == BEAT:
            self.beat = None if value is None else decode_beat(value)
            return
        scope = decode_scope(key)
        if value is None:
            self.states.pop(scope, None)
        else:
            self.states[scope] = decode_state(value)


class QuotaView:
    """The quotas as Kafka has them. All methods may be called from any thread."""

    def __init__(self, options: ClientOptions, topic: str = QUOTAS) -> None:
        self._options = options
        self._topic = topic
        self._found = Quotas()
        self._fault = f"{topic} has not been read yet"
        self._is_whole = False
        self._thread = EnduringThread(
            "quota-view", self._follow, expected=(KafkaError,), failed=self._failed
        )

    def start(self) -> None:
        """Begin to read; return at once."""
        self._thread.start()

    def ready(self) -> bool:
        """Whether the topic has been read to its end once."""
        return self._is_whole

    def fault(self) -> str:
        """Why the view is not up to date; "" if it is."""
        return self._fault

    def state(self, scope: QuotaScope) -> QuotaState | None:
        """What is used of this quota."""
        return self._found.states.get(scope)

    def states(self) -> Mapping[QuotaScope, QuotaState]:
        """A copy of all states."""
        return self._found.states.copy()

    def beat(self) -> QuotaBeat | None:
        """Up to when everything is counted; None if nothing was ever counted."""
        return self._found.beat

    def close(self) -> None:
        """Stop the thread and close its connection."""
        self._thread.close()

    def _failed(self, reason: str) -> None:
        if reason != self._fault:
            log.warning("quotas are not read", extra={"reason": reason})
        self._fault = reason

    def _follow(self) -> None:
        with closing(LogReader(self._options, self._topic)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaError(f"Kafka has no topic {self._topic}")
            topic_id, found = reader.topic_id(), Quotas()
            reader.read_from({PARTITION: 0})
            ends = reader.ends([PARTITION])
            while not reader.has_reached(ends) and not self._thread.is_closing:
                _poll(reader, found)
            self._found, self._is_whole, self._fault = found, True, ""
            while not self._thread.is_closing and reader.topic_id() == topic_id:
                _poll(reader, found)


def _poll(reader: LogReader, found: Quotas) -> None:
    for record in reader.poll(POLL_MS).get(PARTITION, ()):
        found.add(record)
