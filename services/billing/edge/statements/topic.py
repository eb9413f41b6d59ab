"""Reads and writes the topic billing.statements, which has statements and checkpoints.

The topic has only one partition, so there is a single order of all its records. If several
processes close the same month, this order decides which statement is valid (core/closing/chain.py).
The producer is idempotent, uses acks=all, and sends a record only after the previous record was
stored. No key is written a second time.

What is read (lines of statements, cells of checkpoints) is stored in temporary files, so memory is
bounded.

Not thread-safe. All methods may raise KafkaUnavailable. If write() raises KafkaUnavailable, the
records may still have been written. read() may also raise DiskUnavailable. After an error, the next
call of read() begins at the beginning of the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from kafka.errors import KafkaError

from services.billing.core.checkpoint import Checkpoints
from services.billing.core.closing.chain import Chain
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.temporary_files import DiskUnavailable, PartFile
from shared.runtime.clock import Deadline
from shared.stream.client import ClientOptions, make_producer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.names import STATEMENTS

READ_TIMEOUT_S: Final = 60.0
WRITE_TIMEOUT_S: Final = 20.0
CLOSE_TIMEOUT_S: Final = 2.0
POLL_MS: Final = 200
_PARTITION: Final = 0

# The key, the value and the headers of a record. If the value is None, the record with this key is
# removed.
Entry = tuple[bytes, bytes | None, list[tuple[str, bytes]]]

T = TypeVar("T")


class StatementTopic:
    """The topic billing.statements. read() adds new records to `chain` and `checkpoints`."""

    def __init__(
        self, options: ClientOptions, topic: str = STATEMENTS, *, keeps_cells: bool = False
    ) -> None:
        self._options = options
        self._topic = topic
        self._keeps_cells = keeps_cells
        self._reader: LogReader | None = None
        self._producer: Any = None
        self._log = ""
        self._reset()

    def read(self) -> None:
        """Read the new records up to the present end of the topic."""
        self._asking(self._read)

    def write(self, entries: Iterable[Entry]) -> None:
        """Write records in order. Each record is sent only after the previous record was stored."""
        self._asking(lambda: self._write(entries))

    def close(self) -> None:
        reader, self._reader = self._reader, None
        producer, self._producer = self._producer, None
        if reader is not None:
            reader.close()
        if producer is not None:
            producer.close(timeout=CLOSE_TIMEOUT_S)

    def _reset(self) -> None:
        self.chain = Chain(PartFile())
        self.checkpoints = Checkpoints(PartFile() if self._keeps_cells else None)

    def _read(self) -> None:
        if self._reader is None:
            self._reader = LogReader(self._options, self._topic)
            self._reset()
            if not self._reader.partitions():
                raise KafkaUnavailable(f"Kafka has no topic {self._topic}")
            self._log = self._reader.topic_id()
            self._reader.read_from({_PARTITION: 0})
        reader, deadline = self._reader, Deadline(READ_TIMEOUT_S)
        ends = reader.ends([_PARTITION])
        if reader.topic_id() != self._log:
            self.close()
            raise KafkaUnavailable(f"{self._topic} was created again")
        while not reader.has_reached(ends):
            if deadline.is_over():
                raise KafkaUnavailable(f"Kafka: {self._topic} was not read in {READ_TIMEOUT_S:g} s")
            for record in reader.poll(POLL_MS).get(_PARTITION, ()):
                if not isinstance(record, UndecodableRecord):
                    self.chain.add(record.offset, record.key, record.value)
                    self.checkpoints.add(record.key, record.value)

    def _write(self, entries: Iterable[Entry]) -> None:
        if self._producer is None:
            self._producer = make_producer(self._options, None, linger_ms=0)
        for key, value, headers in entries:
            sent = self._producer.send(self._topic, value, key, headers, partition=_PARTITION)
            sent.get(timeout=WRITE_TIMEOUT_S)

    def _asking(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except KafkaError as error:
            self.close()
            raise KafkaUnavailable(f"Kafka: {error}") from error
        except DiskUnavailable:
            self.close()
            raise
