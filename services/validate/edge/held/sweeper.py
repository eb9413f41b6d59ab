"""Releases the mail on mail.held when its quota is available again.

A sweep reads the topic from the committed offset to the end that the topic had when the sweep
began. Each message is judged again, as if it had just arrived. The message then passes, ends with
another outcome, or is written to the end of the topic again. The same transaction commits the old
offset of the message. A sweep begins when a used-up quota becomes available (a new month, a raised
quota, a late beat), when a process starts, and every hour, because mail may have expired. At least
AGAIN_S pass between the beginnings of two sweeps. Between sweeps nothing is read, and the process
is not a member of the group.

On failure: uncommitted messages stay on the topic for the next sweep. If a process is paused during
a sweep, another process takes over, and the commit of the paused process is refused. The topic has
one partition, so only one process sweeps at a time. A second process that waited for the partition
reads at most the messages that the first process wrote back. While Redis or Kafka is unavailable,
the sweep waits. A sweep that takes longer than MAX_SWEEP_S ends, and the next sweep continues at
the committed offset. The held mail of one client delays the held mail of other clients by about 100
µs per message, which is the time to read a message.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from services.validate.core.quotas import QuotaUse, used_up
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.runtime.lifecycle import Stop
from shared.stream.client import ClientOptions, make_consumer
from shared.stream.consumer import Record
from shared.stream.log_reader import LogReader
from shared.stream.relay import Process, Relay
from shared.topics.names import HELD
from shared.topics.quotas import QuotaScope

PARTITION: Final = 0
LOOK_S: Final = 1.0
AGAIN_S: Final = 20.0
EXPIRES_S: Final = 3600.0
MAX_SWEEP_S: Final = 120.0
_POLL_MS: Final = 200


class SweeperParts(Struct, frozen=True):
    """The collaborators of a sweeper."""

    options: ClientOptions
    group: str
    clients: Callable[[], Iterable[Client]]
    is_ready: Callable[[], bool]  # returns whether the registry and the quotas are known
    use: QuotaUse
    clock: Clock
    # Returns the relay for one sweep. The argument wraps the relay's `process`, so that the sweep
    # ends.
    relay: Callable[[Callable[[Process], Process]], Relay]
    topic: str = HELD
    again_s: float = AGAIN_S


class HeldSweeper:
    """Sweeps the held mail, in the thread that calls run()."""

    def __init__(self, parts: SweeperParts) -> None:
        self._parts = parts
        self._used_up: frozenset[tuple[QuotaScope, int]] | None = None
        self._is_due = True
        self._last_at: float | None = None
        self._current = Stop()

    def run(self, stop: Stop) -> None:
        """Until `stop` is set, check repeatedly whether a sweep is due, and sweep if it is due."""
        stop.call(self._end_current)
        while not stop.wait(LOOK_S):
            if not self.is_due():
                continue
            try:
                end = self._end()
            except KafkaError:
                continue  # other loops log Kafka errors
            self._is_due, self._last_at = False, self._parts.clock.monotonic()
            if end:
                self._sweep(end, stop)

    def is_due(self) -> bool:
        """Return whether a sweep is due: a used-up quota became available, or an hour has
        passed."""
        parts = self._parts
        if not parts.is_ready():
            return False
        present = used_up(parts.clients(), parts.use, parts.clock.now_ms())
        if self._used_up is not None and self._used_up - present:
            self._is_due = True
        self._used_up = present
        if self._last_at is None:
            return self._is_due
        since_s = parts.clock.monotonic() - self._last_at
        return since_s >= EXPIRES_S or (self._is_due and since_s >= parts.again_s)

    def _end(self) -> int:
        """Return the end of the topic; 0 if no record is left to read. Raises KafkaError."""
        parts, place = self._parts, TopicPartition(self._parts.topic, PARTITION)
        with closing(LogReader(parts.options, parts.topic)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaError(f"there is no topic {parts.topic}")
            ends = reader.ends([PARTITION])
            asking = make_consumer(parts.options, parts.group)
            try:
                committed = asking.committed(place) or 0
            finally:
                asking.close(autocommit=False)
            # The marker that ends a transaction has an offset, too. So the offsets do not show
            # whether records are left, and the topic must be read.
            reader.read_from({PARTITION: max(committed, reader.begins([PARTITION])[PARTITION])})
            while not reader.has_reached(ends):
                if reader.poll(_POLL_MS).get(PARTITION):
                    return ends[PARTITION]
        return 0

    def _end_current(self) -> None:
        self._current.set()

    def _end_unfinished(self) -> None:
        self._is_due = True
        self._current.set()

    def _sweep(self, end: int, stop: Stop) -> None:
        self._current = Stop()
        current = self._current
        timer = threading.Timer(MAX_SWEEP_S, self._end_unfinished)
        timer.daemon = True
        timer.start()
        if not stop.is_set():
            self._parts.relay(lambda process: _until(end, process, current)).run(current)
        timer.cancel()


def _until(end: int, process: Process, current: Stop) -> Process:
    """Wrap a processor, so that the sweep ends with the batch that reaches this offset."""

    def limited(records: Sequence[Record]) -> Sequence[object]:
        outputs = process(records)
        # The marker of the last transaction has an offset, too, so the last record is at `end` - 2.
        if records[-1].offset >= end - 2:
            current.set("the sweep is finished")
        return outputs

    return limited  # type: ignore[return-value]
