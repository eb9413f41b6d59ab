"""Follows a small topic of one partition: reads it from its beginning, then what is added.

A thread reads without a consumer group; what is written is seen within a second. While Kafka is
unavailable what is shown stays as it is. After a fault, or if the topic was created again, it is
read into a new state, which replaces the old one once it is complete.

Owns: the thread. Does not own: what a record means (the state's add(), which logs what it cannot
read).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Generic, Protocol, TypeVar

from kafka.errors import KafkaError

from shared.runtime.threads import EnduringThread
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader

# A new record ends the wait of a fetch; closing the reader does not.
POLL_MS: Final = 500

log = logging.getLogger(__name__)


class Adds(Protocol):
    """The content of a topic, up to some record."""

    def add(self, record: Any) -> None:
        """Apply one record."""
        ...


S = TypeVar("S", bound=Adds)


class TopicFollower(Generic[S]):
    """Runs from start() until close(). All methods may be called from any thread."""

    def __init__(
        self,
        options: ClientOptions,
        topic: str,
        make: Callable[[], S],
        show: Callable[[S], object],
        *,
        partition: int = 0,
    ) -> None:
        """`make` returns an empty state. `show` is called in the thread of the reader, with the
        whole state: when it is complete, and after each change."""
        self._options = options
        self._topic = topic
        self._make = make
        self._show = show
        self._partition = partition
        self._fault = f"{topic} has not been read yet"
        self._is_whole = False
        self._thread = EnduringThread(
            f"{topic}-follower", self._follow, expected=(KafkaError,), failed=self._failed
        )

    def start(self) -> None:
        """Begin to read; return at once."""
        self._thread.start()

    def is_whole(self) -> bool:
        """Whether the topic has been read to its end once."""
        return self._is_whole

    def fault(self) -> str:
        """Return why the content is not up to date; "" if it is."""
        return self._fault

    def close(self) -> None:
        """Stop the thread and close its connection."""
        self._thread.close()

    def _failed(self, reason: str) -> None:
        if reason != self._fault:
            log.warning("%s is not read", self._topic, extra={"reason": reason})
        self._fault = reason

    def _follow(self) -> None:
        with closing(LogReader(self._options, self._topic, is_following=True)) as reader:
            if self._partition not in reader.partitions():
                raise KafkaError(f"Kafka has no topic {self._topic}")
            topic_id, found = reader.topic_id(), self._make()
            ends = reader.ends([self._partition])
            reader.read_from({self._partition: 0})
            while not reader.has_reached(ends):
                if self._thread.is_closing:
                    return
                self._poll(reader, found)
            self._show(found)
            self._is_whole, self._fault = True, ""
            while not self._thread.is_closing and reader.topic_id() == topic_id:
                if self._poll(reader, found):
                    self._show(found)

    def _poll(self, reader: LogReader, found: S) -> bool:
        """Read for a moment; return whether there was anything."""
        records = reader.poll(POLL_MS).get(self._partition, ())
        for record in records:
            found.add(record)
        return bool(records)
