"""Reads a small compacted topic so that an open transaction hides only its own records.

A reader of committed records stops where the first open transaction begins. The later records of
other writers stay hidden until that transaction ends. If the writer of that transaction has died,
the transaction ends after about 20 s (open_transactions.py). This is too long for a topic to which
operators write. So this reader also reads these later records, which are called the records ahead.
It returns a record ahead unless a header marks the record as written in a transaction
(IN_TRANSACTION in shared/topics/codec.py).

This module owns two readers of one partition, and the records ahead. It does not own the meaning of
a record. poll() and read_whole() return each committed record once, in the order of the log. The
records of ahead() are acknowledged and belong to no transaction. Together with the records ahead,
the last returned record of a key is the last record of that key in the log. This guarantee excludes
records of transactions that are open or began after an open transaction. The memory is bounded: for
at most MAX_AHEAD keys, the last record ahead is stored. Records of further keys are returned after
the transaction has ended. All calls must come from one thread and may raise
kafka.errors.KafkaError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kafka.errors import KafkaError

from shared.runtime.clock import Deadline
from shared.stream.client import ClientOptions
from shared.stream.consumer import Record
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import POLL_MS, LogReader
from shared.topics.codec import is_in_transaction

MAX_AHEAD: Final = 10_000
_AT_ONCE_MS: Final = 0


class PromptReader:
    """Reads one partition from its beginning. Call begin() first."""

    def __init__(self, options: ClientOptions, topic: str, partition: int) -> None:
        self._partition = partition
        self._committed = LogReader(options, topic, is_following=True)
        try:
            self._open = LogReader(options, topic, is_committed=False, is_following=True)
        except BaseException:
            self._committed.close()
            raise
        # The records ahead: for each key, only its last record. The oldest record is the first.
        self._ahead: dict[bytes, Record] = {}
        self._topic = topic
        self._topic_id = ""

    def begin(self) -> bool:
        """Begin to read. Return False if the partition does not exist."""
        if self._partition not in self._committed.partitions():
            return False
        self._topic_id = self._committed.topic_id()
        end = self._committed.ends([self._partition])
        self._committed.read_from({self._partition: 0})
        self._open.read_from(end)
        return True

    def is_same_topic(self) -> bool:
        """Return False if the topic was recreated after begin(), otherwise True."""
        return self._committed.topic_id() == self._topic_id

    def ends(self) -> tuple[int, int]:
        """Return the end of the committed records and the end of all records."""
        return self._end_of(self._committed), self._end_of(self._open)

    def has_reached(self, ends: tuple[int, int]) -> bool:
        """Return True if poll() or ahead() has returned all records before these ends."""
        at = self._committed.position(self._partition), self._open.position(self._partition)
        return at[0] >= ends[0] and at[1] >= ends[1]

    def poll(self, timeout_ms: int) -> tuple[Sequence[Record], bool]:
        """Wait for records, at most `timeout_ms`.

        Return the committed records. The second value is True if any record, committed or ahead, is
        new.
        """
        came = self._open.poll(timeout_ms).get(self._partition, ())
        committed = self._committed.poll(_AT_ONCE_MS if came else timeout_ms)
        settled = committed.get(self._partition, ())
        is_new = self._add(came)
        self._forget_before(self._committed.position(self._partition))
        return settled, bool(settled) or is_new

    def ahead(self) -> list[Record]:
        """Return the records ahead: for each key, only its last record."""
        return list(self._ahead.values())

    def read_whole(self, within_s: float) -> Iterator[Record]:
        """Yield all committed records up to the present end, then the records ahead.

        Also raises KafkaError if the reading takes longer than `within_s`.
        """
        ends, deadline = self.ends(), Deadline(within_s)
        while not self.has_reached(ends):
            if deadline.is_over():
                raise KafkaError(f"{self._topic} could not be read in {within_s:g} s")
            yield from self.poll(POLL_MS)[0]
        yield from self.ahead()

    def close(self) -> None:
        """Close the connections."""
        try:
            self._committed.close()
        finally:
            self._open.close()

    def _end_of(self, reader: LogReader) -> int:
        return reader.ends([self._partition])[self._partition]

    def _add(self, records: Sequence[Record]) -> bool:
        is_new = False
        for record in records:
            # Skip a record that cannot be decoded. The fetcher has already logged the record.
            if isinstance(record, UndecodableRecord) or is_in_transaction(record.headers):
                continue
            key = record.key or b""
            if self._ahead.pop(key, None) is not None or len(self._ahead) < MAX_AHEAD:
                self._ahead[key] = record
                is_new = True
        return is_new

    def _forget_before(self, position: int) -> None:
        old = [key for key, record in self._ahead.items() if record.offset < position]
        for key in old:
            del self._ahead[key]
