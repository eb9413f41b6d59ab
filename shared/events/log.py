"""Reads mail.events from a given time, for commands and APIs, without a consumer group.

Owns: the reader, and the bounds and the progress of reading. The reader raises Unavailable if Kafka
is unavailable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError
from msgspec import Struct

from shared.runtime.clock import Deadline
from shared.runtime.errors import PartUnavailable
from shared.settings.sections import KafkaSettings
from shared.stream.client import FETCH_MIN_BYTES, client_options
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError, decode_event
from shared.topics.names import EVENTS
from shared.topics.records import Event

POLL_MS: Final = 200
POLL_RECORDS: Final = 5_000
# A sieve selects records by their undecoded keys and values, so that most records need not be
# decoded.
Sieve = Callable[[bytes, bytes], bool]
Progress = Callable[[int, int], None]


class Span(Struct, frozen=True):
    """The time of the first event that a pass over the topic reads, and the time limit of the pass.

    If `is_endless` is True, the pass does not end at the end of the topic, but waits for new
    events.
    """

    since_ms: int
    timeout_s: float
    is_endless: bool = False


class Reading:
    """One pass over the topic.

    `is_complete` is False if the time limit ended the pass before the topic's end.
    """

    def __init__(self, kafka: KafkaSettings, span: Span, sieve: Sieve, progress: Progress) -> None:
        """`progress` is called with the number of records read so far and the total number."""
        self._kafka = kafka
        self._span = span
        self._sieve = sieve
        self._progress = progress
        self.is_complete = True

    def events(self) -> Iterator[Event]:
        """Yield the events that pass the sieve, in order within each partition."""
        options = client_options(self._kafka, f"events-{os.getpid()}")
        least = 1 if self._span.is_endless else FETCH_MIN_BYTES
        try:
            with closing(
                LogReader(options, EVENTS, max_poll_records=POLL_RECORDS, fetch_min_bytes=least)
            ) as reader:
                yield from self._read(reader)
        except KafkaError as error:
            raise PartUnavailable("Kafka", self._kafka.bootstrap, str(error)) from error

    def _read(self, reader: LogReader) -> Iterator[Event]:
        partitions = reader.partitions()
        if not partitions:
            return
        ends = reader.ends(partitions)
        found = reader.offsets_at(partitions, self._span.since_ms)
        begins = {each: found.get(each, ends[each]) for each in partitions}
        reader.read_from(begins)
        total, done = sum(ends[each] - begins[each] for each in partitions), 0
        deadline = Deadline(self._span.timeout_s)
        while self._span.is_endless or not reader.has_reached(ends):
            if not self._span.is_endless and deadline.is_over():
                self.is_complete = False
                return
            for records in reader.poll(POLL_MS).values():
                done += len(records)
                yield from self._sifted(records)
            self._progress(min(done, total), total)

    def _sifted(self, records: Any) -> Iterator[Event]:
        for record in records:
            if isinstance(record, UndecodableRecord):
                continue
            if not self._sieve(record.key or b"", record.value or b""):
                continue
            try:
                found = decode_event(record.headers, record.value)
            except CodecError:
                continue  # `sluice audit` counts the records that cannot be decoded
            if isinstance(found, Event):
                yield found
