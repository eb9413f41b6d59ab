"""Reads mail.events from its beginning up to given offsets, for commands that recount events.

Owns: the consumers. It reads only committed records, never joins a group and never commits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from shared.runtime.errors import PartUnavailable
from shared.stream.client import ClientOptions, make_consumer, position_of
from shared.stream.consumer import Record
from shared.topics.names import EVENTS

ASK_TIMEOUT_MS: Final = 10_000
POLL_MS: Final = 500
POLL_RECORDS: Final = 10_000
CLOSE_TIMEOUT_MS: Final = 2_000
# Longer than an open transaction may hold back the records committed after it.
STUCK_S: Final = 90.0


class EventLog:
    """The log of mail.events, for one thread. All methods may raise PartUnavailable."""

    def __init__(self, options: ClientOptions, topic: str = EVENTS) -> None:
        self._topic = topic
        self._options = options
        self._committed = self._connect("read_committed")
        self._written = self._connect("read_uncommitted")
        numbers = self._committed.partitions_for_topic(topic)
        if not numbers:
            self.close()
            raise PartUnavailable("Kafka", options.bootstrap, f"topic {topic} does not exist")
        self._partitions = [TopicPartition(topic, number) for number in sorted(numbers)]

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def id(self) -> str:
        """Return the topic's id."""
        return str(self._committed._cluster.topic_id(self._topic))

    def begins(self) -> dict[int, int]:
        """Return the first available offset by partition."""
        return self._ask(self._committed.beginning_offsets)

    def committed_ends(self) -> dict[int, int]:
        """Return the last stable offset by partition: no open transaction is below it."""
        return self._ask(self._committed.end_offsets)

    def written_ends(self) -> dict[int, int]:
        """Return the offset after the last record by partition, including open transactions."""
        return self._ask(self._written.end_offsets)

    def read(self, ends: Mapping[int, int]) -> Iterator[tuple[int, Sequence[Record]]]:
        """Yield the committed records below `ends` in runs, in order within each partition.

        It waits for open transactions below `ends` to end. It may be called again.
        """
        consumer = self._committed
        begins = self.begins()
        todo = {part for part in self._partitions if ends.get(part.partition, 0) > 0}
        todo = {part for part in todo if begins[part.partition] < ends[part.partition]}
        consumer.assign(sorted(todo))
        consumer.resume(*todo)  # they may be paused since the end of an earlier read()
        for part in todo:
            consumer.seek(part, begins[part.partition])
        moved_at = time.monotonic()
        while todo:
            for part, records in self._poll().items():
                moved_at = time.monotonic()
                end = ends[part.partition]
                yield part.partition, [each for each in records if each.offset < end]
            done = {
                part
                for part in todo
                if position_of(self._committed, part, ASK_TIMEOUT_MS) >= ends[part.partition]
            }
            if done:
                todo -= done
                consumer.pause(*done)
            elif time.monotonic() - moved_at > STUCK_S:
                raise self._away(f"no records were received for {STUCK_S:g} s")

    def close(self) -> None:
        """Close the connections."""
        for consumer in (self._committed, self._written):
            consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _connect(self, isolation: str) -> Any:
        try:
            return make_consumer(
                self._options,
                None,
                isolation_level=isolation,
                max_poll_records=POLL_RECORDS,
            )
        except KafkaError as error:
            raise self._away(str(error)) from error

    def _ask(self, question: Any) -> dict[int, int]:
        try:
            found = question(self._partitions, timeout_ms=ASK_TIMEOUT_MS)
        except KafkaError as error:
            raise self._away(str(error)) from error
        return {part.partition: offset for part, offset in found.items()}

    def _poll(self) -> dict[TopicPartition, list[Record]]:
        try:
            found: dict[TopicPartition, list[Record]] = self._committed.poll(timeout_ms=POLL_MS)
        except KafkaError as error:
            raise self._away(str(error)) from error
        return found

    def _away(self, reason: str) -> PartUnavailable:
        return PartUnavailable("Kafka", self._options.bootstrap, reason)
