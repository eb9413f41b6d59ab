"""Follows a small topic of one partition, and notices that the process that writes it has stopped.

TopicFollower reads the topic from its beginning, then the added records. Its thread uses no
consumer group; a record is seen within a second. While Kafka is unavailable, the shown state stays
unchanged. After a fault, or if the topic was recreated, the topic is read into a new state, which
replaces the old one once it is complete. Does not own: the meaning of a record (the state's add(),
which logs records that it cannot read).

Silence is for topics that several processes can write, but one of them does: the writer writes a
mark with each turn. The others watch the marks and take over when no new mark comes. If two of them
take over at once, or the writer was only paused, that does no harm: they share a transactional id,
and opening it fences the former owner (transactions.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Generic, Protocol, TypeVar

from kafka.errors import KafkaError

from shared.runtime.clock import Clock
from shared.runtime.threads import EnduringThread
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader

# The end of a wait without records: a new record ends the wait sooner, close() does not.
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
        """`make` returns an empty state.

        `show` is called in the reader's thread with the state: when it is complete, and after each
        change.
        """
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
        """Start the thread; return at once."""
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
        """Read for at most POLL_MS; return whether there were records."""
        records = reader.poll(POLL_MS).get(self._partition, ())
        for record in records:
            found.add(record)
        return bool(records)


class Silence:
    """The last mark, and the time at which it was first seen. For one thread."""

    def __init__(self, clock: Clock, after_s: float) -> None:
        """`after_s`: the writer counts as stopped if no new mark came for this long."""
        self._clock = clock
        self._after_s = after_s
        self._seen: tuple[object, float] | None = None

    def has_begun(self, mark: object, longer_s: float = 0.0) -> bool:
        """Return whether the writer has stopped. `mark`: the last mark; None if there is none.

        If no mark was ever written, the first look is enough. `longer_s`: added to `after_s` for a
        writer whose turn takes long.
        """
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != mark:
            is_first = self._seen is None
            self._seen = (mark, now)
            return is_first and mark is None
        return now - self._seen[1] >= self._after_s + longer_s

    def restart(self, mark: object) -> None:
        """Start the waiting time again: another process has just taken over."""
        self._seen = (mark, self._clock.monotonic())

    def forget(self) -> None:
        """Let the next look be the first."""
        self._seen = None
