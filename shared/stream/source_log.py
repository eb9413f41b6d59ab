"""Reads mail.events and mail.suppressions from given offsets on, and merges their records.

This module owns the readers, and the time up to which the order is certain. If the end of a
partition was requested at time T and the partition was read up to that end, every record before the
time T minus SKEW_MS has been read. The end includes records of open transactions. Records after the
beginning of an open transaction cannot be read before the transaction ends. If the writer is dead,
the broker ends the transaction. This module does not own the order
(shared/responses/counting/merging.py). All methods may raise KafkaError. A partition that is far
ahead of the others is paused, so the memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from kafka.errors import KafkaError

from shared.responses.counting.merging import Merged, MergedLog, Source
from shared.runtime.clock import Clock
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader

# The clocks of brokers and services may differ by up to this time.
SKEW_MS: Final = 2_000
ASK_S: Final = 0.5
# The time that a fetch waits for records that were written before the ends were last requested.
FETCH_MS: Final = 50
# The limits of one poll for each topic.
POLL_RECORDS: Final = 5_000
POLL_FETCHES: Final = 10
MAX_WAITING: Final = 20_000


class SourceLog:
    """The readers of one counting process. Use it in one thread only.

    `last_header`: see LogReader.
    """

    def __init__(
        self, options: ClientOptions, topics: Iterable[str], clock: Clock, *, last_header: str = ""
    ) -> None:
        self._clock = clock
        self._readers: dict[str, LogReader] = {}
        self._ends_of: dict[str, LogReader] = {}
        self._ends: dict[Source, int] = {}
        self._readable_ends: dict[Source, int] = {}
        self._asked_at = float("-inf")
        self._asked_ms = 0
        self._positions: dict[Source, int] = {}
        self._paused: set[Source] = set()
        self.undecodable = 0
        try:
            for topic in topics:
                self._readers[topic] = LogReader(
                    options, topic, last_header=last_header, max_poll_records=POLL_RECORDS
                )
                self._ends_of[topic] = LogReader(options, topic, is_committed=False)
            self._sources = self._find_sources()
        except BaseException:
            self.close()
            raise
        self._merged = MergedLog(self._sources)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return all partitions, sorted."""
        return self._sources

    def log_id(self) -> str:
        """Return the ids of the topics."""
        return ":".join(reader.topic_id() for reader in self._readers.values())

    def begins(self) -> dict[Source, int]:
        """Return, by partition, the first offset that Kafka still stores."""
        return {
            Source(topic, partition): offset
            for topic, reader in self._readers.items()
            for partition, offset in reader.begins(self._partitions(topic)).items()
        }

    def ends(self) -> dict[Source, int]:
        """Return, by partition, the offset after the last record."""
        return self._ends_by(self._ends_of)

    def offsets_at(self, time_ms: int) -> dict[Source, int]:
        """Return, by partition, the first offset at or after this time, or else the end offset."""
        found = self.ends()
        for topic, reader in self._readers.items():
            for partition, offset in reader.offsets_at(self._partitions(topic), time_ms).items():
                found[Source(topic, partition)] = offset
        return found

    def has_given(self, ends: Mapping[Source, int]) -> bool:
        """Return True if take() has returned all records before these offsets."""
        return all(
            self._positions[source] >= end and self._merged.has_given(source, end)
            for source, end in ends.items()
        )

    def read_from(self, offsets: Mapping[Source, int]) -> None:
        """Read all partitions from these offsets on."""
        for topic, reader in self._readers.items():
            reader.read_from(
                {each: offsets[Source(topic, each)] for each in self._partitions(topic)}
            )
            self._note_positions(topic, reader)

    def poll(self, wait_ms: int = 0) -> None:
        """Read the records that were readable when the ends were last requested.

        If a topic has no unread records, wait at most `wait_ms` for its next record. During this
        time, the other topic is not read.
        """
        self._ask_ends()
        for topic, reader in self._readers.items():
            self._read(topic, reader, wait_ms)
        for source, end in self._ends.items():
            if self._positions[source] >= end:
                self._merged.note_read(source, self._asked_ms - SKEW_MS)
        self._pause()

    def _read(self, topic: str, reader: LogReader, wait_ms: int) -> None:
        """Read one topic.

        Read records. A fetch that waited at the broker ends with the first record, so the records
        after the first record need a further fetch.
        """
        number = 0
        for _ in range(POLL_FETCHES):
            may_come = self._is_before(self._ends, topic)
            found = reader.poll(FETCH_MS if may_come else wait_ms)
            self._note_positions(topic, reader)
            for partition, records in found.items():
                readable = [each for each in records if not isinstance(each, UndecodableRecord)]
                self.undecodable += len(records) - len(readable)
                self._merged.add(Source(topic, partition), readable)
                number += len(records)
            is_behind = self._is_before(self._readable_ends, topic)
            if not found or number >= POLL_RECORDS or not is_behind:
                return

    def take(self, most: int) -> list[Merged]:
        """Return at most `most` of the next records whose order is certain."""
        return self._merged.take(most)

    def is_behind(self) -> bool:
        """Return True if some records that were readable at the last request are still unread."""
        return any(self._is_before(self._readable_ends, topic) for topic in self._readers)

    def next_look(self) -> float:
        """Return the time at which poll() will request the ends again, in monotonic seconds."""
        return self._asked_at + ASK_S

    def lag(self) -> int:
        """Return the number of records before the last requested ends that take() did not return
        yet.
        """
        unread = sum(max(0, end - self._positions[source]) for source, end in self._ends.items())
        return unread + len(self._merged)

    def close(self) -> None:
        """Close the connections."""
        for reader in (*self._readers.values(), *self._ends_of.values()):
            reader.close()

    def _ask_ends(self) -> None:
        now = self._clock.monotonic()
        if now < self.next_look():
            return
        asked_ms = self._clock.now_ms()
        if self._find_sources() != self._sources:
            raise KafkaError("the topics have other partitions than before")
        self._ends = self.ends()
        # If a topic was read to its end, no readable record of the topic is unread.
        unread = {
            topic: reader
            for topic, reader in self._readers.items()
            if self._is_before(self._ends, topic)
        }
        self._readable_ends = self._ends_by(unread)
        self._asked_at, self._asked_ms = now, asked_ms

    def _is_before(self, ends: Mapping[Source, int], topic: str) -> bool:
        return any(
            self._positions[source] < end for source, end in ends.items() if source.topic == topic
        )

    def _note_positions(self, topic: str, reader: LogReader) -> None:
        """Store the positions, because each request for a position costs much CPU time."""
        for partition in self._partitions(topic):
            self._positions[Source(topic, partition)] = reader.position(partition)

    def _ends_by(self, readers: Mapping[str, LogReader]) -> dict[Source, int]:
        return {
            Source(topic, partition): offset
            for topic, reader in readers.items()
            for partition, offset in reader.ends(self._partitions(topic)).items()
        }

    def _pause(self) -> None:
        for source in self._sources:
            waiting, reader = self._merged.waiting(source), self._readers[source.topic]
            if waiting > MAX_WAITING and source not in self._paused:
                reader.pause([source.partition])
                self._paused.add(source)
            elif waiting <= MAX_WAITING and source in self._paused:
                reader.resume([source.partition])
                self._paused.discard(source)

    def _find_sources(self) -> tuple[Source, ...]:
        found = [
            Source(topic, partition)
            for topic, reader in self._readers.items()
            for partition in reader.partitions()
        ]
        missing = set(self._readers) - {each.topic for each in found}
        if missing:
            raise KafkaError(f"there is no topic {min(missing)}")
        return tuple(sorted(found))

    def _partitions(self, topic: str) -> list[int]:
        return [each.partition for each in self._sources if each.topic == topic]
