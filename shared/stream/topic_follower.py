"""Follows a small topic of one partition, and detects when its writing process has stopped.

TopicFollower reads the topic from its beginning, and later each new record within a second. Its
thread uses no consumer group. While Kafka is unavailable, the shown state does not change. After a
fault or a recreation of the topic, the topic is read into a new state. When the new state is
complete, it replaces the old state. The state's add() interprets each record, and logs the records
that it cannot read.

The class Silence is for topics that several processes can write, although only one process writes
at a time. The writer writes a mark with each turn. The other processes watch the marks, and one of
them takes over when no new mark appears. A takeover is safe even if two processes take over at once
or the writer was only paused, because all processes share one transactional id. Opening this id
fences the former owner (transactions.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Generic, Protocol, TypeVar

from kafka.errors import KafkaError

from shared.runtime.clock import Clock
from shared.runtime.threads import EnduringThread, RunsThread
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader

# The time that a poll waits without records. A new record ends the wait earlier, but close() does
# not end the wait.
POLL_MS: Final = 500

log = logging.getLogger(__name__)


class Adds(Protocol):
    """A state that is built from the records of a topic."""

    def add(self, record: Any) -> None:
        """Apply one record."""
        ...


S = TypeVar("S", bound=Adds)


class TopicFollower(RunsThread, Generic[S]):
    """Follows one topic from start() until close(). Any thread may call the methods."""

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

        `show` is called with the state in the reader's thread, first when the state is complete,
        and then after each change.
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

    def is_whole(self) -> bool:
        """Return True if the topic has been read to its end at least once."""
        return self._is_whole

    def fault(self) -> str:
        """Return the reason why the state is not up to date. Return "" if it is up to date."""
        return self._fault

    def _failed(self, reason: str) -> None:
        if reason != self._fault:
            log.warning("%s cannot be read", self._topic, extra={"reason": reason})
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
        """Read for at most POLL_MS. Return True if there were records."""
        records = reader.poll(POLL_MS).get(self._partition, ())
        for record in records:
            found.add(record)
        return bool(records)


class Silence:
    """Stores the last mark, and when this mark was first seen. Use it in one thread only."""

    def __init__(self, clock: Clock, after_s: float) -> None:
        """If no new mark appears for `after_s`, the writer is regarded as stopped."""
        self._clock = clock
        self._after_s = after_s
        self._seen: tuple[object, float] | None = None

    def has_begun(self, mark: object, longer_s: float = 0.0) -> bool:
        """Return True if the writer has stopped. `mark` is the writer's last mark, or None.

        If no mark exists at the first call, True is returned at once. `longer_s` is added to
        `after_s`, for a writer whose turn takes long.
        """
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != mark:
            is_first = self._seen is None
            self._seen = (mark, now)
            return is_first and mark is None
        return now - self._seen[1] >= self._after_s + longer_s

    def restart(self, mark: object) -> None:
        """Start the waiting time again, because another process has just taken over."""
        self._seen = (mark, self._clock.monotonic())

    def forget(self) -> None:
        """Treat the next call of has_begun() as the first call."""
        self._seen = None
