"""A live view of mail.reputation: reads the topic from its beginning and follows it.

A thread reads without a consumer group; what the keeper writes is seen within a second. While Kafka
is unavailable the view stays as it is: the steps change once a day. After a fault the topic is read
into a new view, which replaces the old one once it is complete. A record that cannot be read is
logged, and leaves what it would have replaced.

Owns: the thread. Does not own: who writes (keeper.py), the limits (core/reputation/steps.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError

from shared.runtime.enduring_thread import EnduringThread
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.names import REPUTATION
from shared.topics.reputation import (
    PARTITION,
    PLACE_KEY,
    ClientState,
    Place,
    State,
    WarmupState,
    decode_state,
)

log = logging.getLogger(__name__)

POLL_MS: Final = 200


class States:
    """What the topic says, up to some record."""

    def __init__(self) -> None:
        self._states: dict[bytes, State] = {}

    def add(self, record: Any) -> None:
        """Apply one record; log it if it cannot be read."""
        if isinstance(record, UndecodableRecord):
            return  # the fetcher has logged it
        key = record.key or b""
        if record.value is None:
            self._states.pop(key, None)
            return
        try:
            state = decode_state(key, record.value)
        except CodecError as error:
            fields = {"offset": record.offset, "reason": str(error)}
            log.error("a record of mail.reputation cannot be read", extra=fields)
            return
        if state is not None:
            self._states[key] = state

    def all(self) -> list[State]:
        """All states."""
        return list(self._states.values())

    @property
    def place(self) -> Place | None:
        """Up to where events are counted; None if none ever were."""
        found = self._states.get(PLACE_KEY)
        return found if isinstance(found, Place) else None


class ReputationView:
    """The states as Kafka has them. All methods may be called from any thread."""

    def __init__(self, options: ClientOptions, topic: str = REPUTATION) -> None:
        self._options = options
        self._topic = topic
        self._found: tuple[State, ...] = ()
        self._place: Place | None = None
        self._fault = f"{topic} has not been read yet"
        self._is_whole = False
        self._changed: Callable[[], object] = lambda: None
        self._thread = EnduringThread(
            "reputation-view", self._follow, expected=(KafkaError,), failed=self._failed
        )

    def start(self, changed: Callable[[], object]) -> None:
        """Begin to read; `changed` is called in the thread of the reader, after each change."""
        self._changed = changed
        self._thread.start()

    def ready(self) -> bool:
        """Whether the topic has been read to its end once."""
        return self._is_whole

    def fault(self) -> str:
        """Why the view is not up to date; "" if it is."""
        return self._fault

    def place(self) -> Place | None:
        """Up to where events are counted, and since when; None if none ever were."""
        return self._place

    def sources(self) -> list[WarmupState]:
        """The steps of all sources."""
        return [state for state in self._found if isinstance(state, WarmupState)]

    def clients(self) -> list[ClientState]:
        """The counts of all clients."""
        return [state for state in self._found if isinstance(state, ClientState)]

    def close(self) -> None:
        """Stop the thread and close its connection."""
        self._thread.close()

    def _failed(self, reason: str) -> None:
        if reason != self._fault:
            log.warning("the reputation of sources is not read", extra={"reason": reason})
        self._fault = reason

    def _follow(self) -> None:
        with closing(LogReader(self._options, self._topic)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaError(f"Kafka has no topic {self._topic}")
            topic_id, found = reader.topic_id(), States()
            reader.read_from({PARTITION: 0})
            ends = reader.ends([PARTITION])
            while not reader.has_reached(ends) and not self._thread.is_closing:
                _poll(reader, found)
            self._show(found)
            while not self._thread.is_closing and reader.topic_id() == topic_id:
                if _poll(reader, found):
                    self._show(found)

    def _show(self, found: States) -> None:
        self._found, self._place = tuple(found.all()), found.place
        self._is_whole, self._fault = True, ""
        self._changed()


def _poll(reader: LogReader, found: States) -> bool:
    """Read for a moment; return whether there was anything."""
    records = reader.poll(POLL_MS).get(PARTITION, ())
    for record in records:
        found.add(record)
    return bool(records)
