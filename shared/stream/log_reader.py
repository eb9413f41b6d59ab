"""Reads one topic from any offset on, without a consumer group and without commits.

This module owns a connection for reading, a second connection for requests about offsets, and the
position in each partition. It does not own the decision when to read, and the meaning of a record.
All calls must come from one thread and may raise kafka.errors.KafkaError. Mappings of offsets have
partition numbers as keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from shared.runtime.clock import Deadline
from shared.stream.client import ClientOptions, make_consumer, position_of
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import skip_headers_after
from shared.stream.kafka_python.fetching_by_id import fetch_by_id
from shared.stream.kafka_python.topic_ids import topic_id
from shared.stream.recreated_topics import require_same_for_reading

ASK_TIMEOUT_MS: Final = 5_000
CLOSE_TIMEOUT_MS: Final = 1_000
# While no record is written, a fetch waits at the broker up to this time. The first new record ends
# the wait. A change to another offset has to wait until the previous fetch ends.
FETCH_WAIT_MS: Final = 1_000
# A reader that follows a log waits up to this time in each fetch. The reader also renews its topic
# metadata at this interval.
FOLLOW_MS: Final = 5_000
POLL_MS: Final = 200


class LogReader:
    """A reader of one topic.

    If `is_committed` is True, the reader returns only committed records, and ends where the first
    open transaction begins. In each record, headers after the first header named `last_header` are
    not read. `is_following` is True if the caller only reads on and never changes to another
    offset. While no record is written, each fetch of such a reader waits for FOLLOW_MS, and the
    topic's metadata are renewed at the same interval. A new record or the deletion of the topic
    ends the wait. `ask_timeout_ms` is the time limit of a request about offsets. Further keyword
    arguments configure the Kafka consumer.
    """

    def __init__(
        self,
        options: ClientOptions,
        topic: str,
        *,
        is_committed: bool = True,
        last_header: str = "",
        is_following: bool = False,
        ask_timeout_ms: int = ASK_TIMEOUT_MS,
        **overrides: Any,
    ) -> None:
        config = {
            "isolation_level": "read_committed" if is_committed else "read_uncommitted",
            "fetch_min_bytes": 1,
            "fetch_max_wait_ms": FETCH_WAIT_MS,
        }
        if is_following:
            config |= {"fetch_max_wait_ms": FOLLOW_MS, "metadata_max_age_ms": FOLLOW_MS}
        self._make = partial(make_consumer, options, None, **{**config, **overrides})
        self._consumer: Any = self._make()
        if last_header:
            skip_headers_after(self._consumer, last_header)
        fetch_by_id(self._consumer)
        # A broker answers the requests of a connection in order, so a request about offsets on this
        # connection would wait for the end of an earlier fetch.
        self._asker: Any = self._consumer
        self._is_fetching = False
        self._topic = topic
        self._ask_timeout_ms = ask_timeout_ms

    def topic_id(self) -> str:
        """Return the topic's id from the latest metadata.

        If the id changes, the topic has a new log, whose offsets belong to other records. Raises
        KafkaError if the topic is not known at present. This error does not mean that the topic has
        a new log.
        """
        found = topic_id(self._consumer, self._topic)
        if not found:
            self._consumer.topics()  # this call requests the metadata of all topics
            found = topic_id(self._consumer, self._topic)
        if not found:
            raise KafkaError(f"Kafka does not know the topic {self._topic} now")
        return found

    def partitions(self) -> list[int]:
        """Return the numbers of the topic's partitions. A missing topic has no partitions."""
        return sorted(self._consumer.partitions_for_topic(self._topic) or ())

    def begins(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return, for each of these partitions, the first offset that Kafka still stores."""
        return self._ask(self._questions().beginning_offsets, partitions)

    def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return, for each of these partitions, the offset after its last record."""
        return self._ask(self._questions().end_offsets, partitions)

    def offsets_at(self, partitions: Iterable[int], time_ms: int) -> dict[int, int]:
        """Return each partition's first offset at or after this time, if there is one."""
        times = {self._named(partition): time_ms for partition in partitions}
        found = self._questions().offsets_for_times(times)
        return {each.partition: first.offset for each, first in found.items() if first}

    def read_from(self, offsets: Mapping[int, int]) -> None:
        """Read only these partitions, from these offsets on."""
        named = [self._named(partition) for partition in sorted(offsets)]
        self._is_fetching = True
        self._consumer.assign(named)
        self._consumer.resume(*named)  # assign() does not resume paused partitions
        for each in named:
            self._consumer.seek(each, offsets[each.partition])

    def pause(self, partitions: Iterable[int]) -> None:
        """Pause reading these partitions."""
        self._consumer.pause(*map(self._named, partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """Resume reading these partitions."""
        self._consumer.resume(*map(self._named, partitions))

    def position(self, partition: int) -> int:
        """Return the offset of the next record. Return -1 before the first answer."""
        return position_of(self._consumer, self._named(partition), self._ask_timeout_ms)

    def has_reached(self, ends: Mapping[int, int]) -> bool:
        """Return True if all records before these offsets have been returned."""
        return all(self.position(partition) >= end for partition, end in ends.items())

    def poll(self, timeout_ms: int) -> dict[int, Sequence[Record]]:
        """Wait for records, at most `timeout_ms`. Return them by partition, in order.

        A batch that cannot be decoded is returned as an UndecodableRecord
        (kafka_python/fetching.py). Raises KafkaError if the topic was recreated after the first
        read. The new topic needs a new LogReader.
        """
        found = self._consumer.poll(timeout_ms=timeout_ms)
        require_same_for_reading(self._consumer)
        return {each.partition: records for each, records in found.items()}

    def read_whole(self, partition: int, within_s: float) -> Iterator[Record]:
        """Yield the records of a partition, as poll() does, from its beginning to its present end.

        Raises KafkaError if a poll fails or the reading takes longer than `within_s`.
        """
        ends, deadline = self.ends([partition]), Deadline(within_s)
        self.read_from({partition: 0})
        while not self.has_reached(ends):
            if deadline.is_over():
                raise KafkaError(f"{self._topic} could not be read in {within_s:g} s")
            yield from self.poll(POLL_MS).get(partition, ())

    def close(self) -> None:
        """Close the connection."""
        for each in {self._consumer, self._asker}:
            each.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)

    def _questions(self) -> Any:
        """Return the consumer that requests offsets. After read_from(), it is a second consumer."""
        if self._is_fetching and self._asker is self._consumer:
            self._asker = self._make()
        return self._asker

    def _named(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _ask(self, question: Any, partitions: Iterable[int]) -> dict[int, int]:
        asked = [self._named(partition) for partition in partitions]
        if not asked:
            return {}
        found = question(asked, timeout_ms=self._ask_timeout_ms)
        return {each.partition: int(offset) for each, offset in found.items()}
