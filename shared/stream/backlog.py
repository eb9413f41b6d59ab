"""Reads the records that a group has not processed, without joining the group or committing.

This module owns one client that reads the group's offsets, and one client that reads records.
Reading begins at the committed offset and omits the messages that the commit's metadata list as
settled. The services keep running, so a message that moves to another topic during the reading may
be seen twice or not at all. All calls may raise kafka.errors.KafkaError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.runtime.clock import Deadline
from shared.stream.client import FETCH_MIN_BYTES, ClientOptions, make_consumer
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.ledger import NOTHING_SETTLED, MetadataError, Settled, decode_metadata

ASK_TIMEOUT_MS: Final = 10_000
POLL_MS: Final = 200
POLL_RECORDS: Final = 2_000


class Unread(Struct, frozen=True):
    """The unprocessed offsets of a partition, and the settled messages among them."""

    begin: int
    end: int
    settled: Settled = NOTHING_SETTLED

    @property
    def records(self) -> int:
        """Return the number of offsets. Some offsets may belong to transaction markers."""
        return max(0, self.end - self.begin)

    def is_settled(self, offset: int, index: int) -> bool:
        """Return True if the message with this index in the record at `offset` is settled."""
        if offset in self.settled.whole:
            return True
        _, bits = self.settled.partial.get(offset, (0, 0))
        return bool(bits >> index & 1)


class Backlog:
    """The records of these topics that a group has not processed yet. Call close() at the end."""

    def __init__(self, options: ClientOptions, group: str, topics: Iterable[str]) -> None:
        self._reader: Any = make_consumer(
            options, None, fetch_min_bytes=FETCH_MIN_BYTES, max_poll_records=POLL_RECORDS
        )
        try:
            self.partitions = self._unread(options, group, topics)
        except BaseException:
            self.close()
            raise
        self.is_complete = True

    def _unread(
        self, options: ClientOptions, group: str, topics: Iterable[str]
    ) -> dict[TopicPartition, Unread]:
        named = partitions_of(self._reader, topics)
        if not named:
            return {}
        member: Any = make_consumer(options, group)
        try:
            found = {
                each: member.committed(each, metadata=True, timeout_ms=ASK_TIMEOUT_MS)
                for each in named
            }
        finally:
            member.close(autocommit=False)
        begins = self._reader.beginning_offsets(named, timeout_ms=ASK_TIMEOUT_MS)
        ends = self._reader.end_offsets(named, timeout_ms=ASK_TIMEOUT_MS)
        unread = {}
        for each in named:
            committed = found[each]
            if committed is None or committed.offset < begins[each]:
                unread[each] = Unread(begins[each], ends[each])
                continue
            try:
                settled = decode_metadata(committed.metadata or "", committed.offset)
            except MetadataError:
                settled = NOTHING_SETTLED
            unread[each] = Unread(committed.offset, ends[each], settled)
        return unread

    def records(self, deadline: Deadline) -> Iterator[tuple[TopicPartition, Sequence[Record]]]:
        """Yield the records by partition. Set `is_complete` to False if the deadline ends first."""
        todo = {each: unread for each, unread in self.partitions.items() if unread.records}
        self._reader.assign(list(todo))
        for each, unread in todo.items():
            self._reader.seek(each, unread.begin)
        while todo:
            if deadline.is_over():
                self.is_complete = False
                return
            for partition, records in self._reader.poll(timeout_ms=POLL_MS).items():
                end = self.partitions[partition].end
                yield (
                    partition,
                    [
                        each
                        for each in records
                        if each.offset < end and not isinstance(each, UndecodableRecord)
                    ],
                )
            done = [each for each, unread in todo.items() if self._position(each) >= unread.end]
            for each in done:
                self._reader.pause(each)
                del todo[each]

    def _position(self, partition: TopicPartition) -> int:
        found = self._reader.position(partition, timeout_ms=ASK_TIMEOUT_MS)
        if found is None:
            raise KafkaError(f"the position in {partition.topic} is not known")
        return int(found)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close(autocommit=False)


def partitions_of(consumer: Any, topics: Iterable[str]) -> list[TopicPartition]:
    """Return the partitions of these topics, sorted. A missing topic has no partitions."""
    return [
        TopicPartition(topic, number)
        for topic in sorted(topics)
        for number in sorted(consumer.partitions_for_topic(topic) or ())
    ]


def topic_names(options: ClientOptions) -> set[str]:
    """Return the names of all topics of the cluster."""
    consumer: Any = make_consumer(options, None)
    try:
        return set(consumer.topics())
    finally:
        consumer.close(autocommit=False)
