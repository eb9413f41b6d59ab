"""Provides a live view of billing.quotas (shared/stream/topic_follower.py).

While Kafka is unavailable, the view stays unchanged. A process that enforces a quota therefore also
counts the mail that this process has accepted itself (core/quotas.py of the validate service). A
record that cannot be read is logged and leaves the quota unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.topic_follower import TopicFollower
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


class Quotas:
    """The content of the topic up to the last record that was added."""

    def __init__(self) -> None:
        self.states: dict[QuotaScope, QuotaState] = {}
        self.beat: QuotaBeat | None = None

    def add(self, record: Any) -> None:
        """Apply one record; log it if it cannot be read."""
        if isinstance(record, UndecodableRecord):
            return  # the fetcher has logged this record
        try:
            self._apply(record.key or b"", record.value)
        except CodecError as error:
            fields = {"offset": record.offset, "reason": str(error)}
            # The text repeats the values of the fields, because commands print only the text.
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
    """A view of the quotas. All methods may be called from any thread."""

    def __init__(self, options: ClientOptions, topic: str = QUOTAS) -> None:
        self._found = Quotas()
        self._follower = TopicFollower(options, topic, Quotas, self._show, partition=PARTITION)

    def start(self) -> None:
        """Start the thread, and return at once."""
        self._follower.start()

    def ready(self) -> bool:
        """Return whether the topic has been read to its end once."""
        return self._follower.is_whole()

    def fault(self) -> str:
        """Return the reason why the view is not up to date, or "" if it is up to date."""
        return self._follower.fault()

    def close(self) -> None:
        """Stop the thread and close its connection."""
        self._follower.close()

    def state(self, scope: QuotaScope) -> QuotaState | None:
        """Return the state of this quota, or None if the topic has no record of this quota."""
        return self._found.states.get(scope)

    def states(self) -> Mapping[QuotaScope, QuotaState]:
        """Return a copy of all states."""
        return self._found.states.copy()

    def beat(self) -> QuotaBeat | None:
        """Return the last beat of the billing service, or None if there has been no beat."""
        return self._found.beat

    def _show(self, found: Quotas) -> None:
        self._found = found
