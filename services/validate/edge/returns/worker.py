"""Reads mail.returned as a member of a consumer group, and writes the results exactly once.

The worker is like the relay (shared/stream/relay.py), but the worker has state: the windows of the
clients (core/returns/windows.py). The windows are written to mail.forwarding in the same
transaction as the other records. The worker also writes digests that become due while no mail
arrives. If the process

- dies before the commit is finished, its successor reads the same records again, and reads the
  windows as they were before these records;
- dies after the commit, the records are processed and the windows are written;
- is paused for longer than its session lasts, its commit is refused, because the commit contains
  the membership under which the records were read. The commit of a digest is refused in the same
  way, because the transaction of the digest commits the same offset again;
- gets or loses partitions, it reads the windows again before it uses the windows.

The windows are written in the transactions that commit the offsets of mail.returned. When a process
gets partitions, it first reads their committed offsets. After this read, no transaction on these
partitions is open. Then the process asks Kafka for the end of mail.forwarding. So all windows of
these partitions are before this end.

Owns: the loop, reading the windows. Does not own: the records that are written (processor.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Protocol

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition
from msgspec import Struct

from services.validate.core.returns.windows import PREFIX, Window, Windows, decode_window
from services.validate.edge.returns.processor import SERVICE, Answer
from shared.runtime.clock import Clock, Deadline, monotonic
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream.client import ClientOptions
from shared.stream.consumer import MembershipLost, Record, StreamConsumer
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.stream.loop import SessionLoop
from shared.stream.relay import BatchSize, NotReady, RelayStatus
from shared.stream.transactions import TransactionalProducer, TransactionLost
from shared.topics import names

log = logging.getLogger(__name__)

POLL_MS: Final = 200
RETRY_S: Final = 0.5
NOT_READY_S: Final = 1.0
# Parsing a message may take 50 ms, so BatchSize limits a batch to a few seconds.
MAX_RECORDS: Final = 200

_Offsets = Mapping[TopicPartition, OffsetAndMetadata]

PARTITION: Final = 0
WINDOWS_POLL_MS: Final = 100
# Kafka ends an open transaction of another process after 20 seconds.
READ_TIMEOUT_S: Final = 30.0


class Processor(Protocol):
    """Decides which records are written (processor.py)."""

    def process(self, records: Sequence[Record], windows: Mapping[bytes, Window], /) -> Answer:
        """Return the outputs for these records. Raises NotReady."""
        ...

    def due(self, windows: Mapping[bytes, Window], partitions: Collection[int], /) -> Answer | None:
        """Return the digests that are due on these partitions; None if no digest is due."""
        ...


class WorkerParts(Struct, frozen=True):
    """The collaborators of a worker."""

    make_consumer: Callable[[], StreamConsumer]
    producer: TransactionalProducer
    processor: Processor
    windows: WindowLog
    failpoints: Failpoints


class _Session:
    """The membership of the group, and the windows that were read under this membership."""

    def __init__(self, consumer: StreamConsumer) -> None:
        self.consumer = consumer
        self.windows: Windows = {}
        self.read_under: tuple[int, frozenset[TopicPartition]] | None = None

    def close(self) -> None:
        self.consumer.close()


class ReturnsWorker:
    """Processes returned mail in run(). If no mail is read, `status.waiting_for` is the reason."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._batch = BatchSize(MAX_RECORDS)
        self.status = RelayStatus()

    def run(self, stop: Stop) -> None:
        """Process returned mail until `stop` is set. Raises FencedInstanceIdError if the instance
        name is in use."""
        loop = SessionLoop(SERVICE, self._open, self._turn, self.status)
        try:
            while not stop.is_set():
                if not loop.step():
                    stop.wait(RETRY_S)
        finally:
            self._parts.producer.close()
            loop.close()

    def _open(self) -> _Session:
        # The call of open() ends an open transaction of a predecessor, because an open transaction
        # would hide the committed offsets.
        self._parts.producer.open()
        return _Session(self._parts.make_consumer())

    def _turn(self, session: _Session) -> None:
        consumer = session.consumer
        found = consumer.poll(POLL_MS, self._batch.records)
        # Only poll() joins the group, so the records were read under this membership.
        membership = consumer.membership()
        if membership is None:
            if found:
                raise MembershipLost("records were read while the group was being joined")
            self.status.waiting_for = consumer.waiting_for()
            return
        self.status.waiting_for = consumer.waiting_for()
        if not consumer.assignment() or (self.status.waiting_for and not found):
            return
        try:
            if self._read_windows(session, membership):
                self._answer(session, found, membership)
        except NotReady as reason:
            self.status.waiting_for = str(reason)
            log.warning("returned mail waits: %s", reason)
            session.read_under = None  # the next turn begins at the committed offsets again
            consumer.idle(NOT_READY_S)
        except TransactionLost:
            self.status.lost_transactions += 1
            session.read_under = None
            raise

    def _read_windows(self, session: _Session, membership: ConsumerGroupMetadata) -> bool:
        """Return True if the windows were read under this membership; otherwise read the windows
        and return False.

        After the windows were read, the consumer reads the records of this turn again, from the
        committed offsets to which the windows belong. No open transaction hides these offsets any
        more.
        """
        assigned = frozenset(session.consumer.assignment())
        under = (membership.generation_id, assigned)
        if session.read_under == under:
            return True
        self._parts.producer.open()
        session.consumer.rewind()
        session.windows = self._parts.windows.read()
        session.read_under = under
        return False

    def _answer(
        self,
        session: _Session,
        found: Mapping[TopicPartition, Sequence[Record]],
        membership: ConsumerGroupMetadata,
    ) -> None:
        processor, hit = self._parts.processor, self._parts.failpoints.hit
        if not found:
            self._digest(session, membership)
            return
        hit(f"{SERVICE}.polled")
        records = [record for part in found.values() for record in part]
        offsets = {
            partition: OffsetAndMetadata(part[-1].offset + 1, "", -1)
            for partition, part in found.items()
        }
        begun = monotonic()
        try:
            answer = processor.process(records, session.windows)
            hit(f"{SERVICE}.processed")
            self._commit(session, answer, offsets, membership)
        finally:
            self._batch.took(len(records), monotonic() - begun)
        self.status.records += len(records)

    def _digest(self, session: _Session, membership: ConsumerGroupMetadata) -> None:
        """Write the digests that are due."""
        numbers = {each.partition for each in session.consumer.assignment()}
        answer = self._parts.processor.due(session.windows, numbers)
        if answer is None:
            return
        offsets = {each: self._committed(session, each) for each in session.consumer.assignment()}
        known: dict[TopicPartition, Any] = {each: at for each, at in offsets.items() if at}
        if known:  # after a pause, Kafka would not refuse a commit without offsets
            self._commit(session, answer, known, membership)

    def _committed(self, session: _Session, partition: TopicPartition) -> OffsetAndMetadata | None:
        found = session.consumer.committed(partition)
        return OffsetAndMetadata(found.offset, "", -1) if found and found.offset >= 0 else None

    def _commit(
        self,
        session: _Session,
        answer: Answer,
        offsets: _Offsets,
        membership: ConsumerGroupMetadata,
    ) -> None:
        session.consumer.require_same_topics()
        self._parts.producer.commit(answer.outputs, offsets, membership)
        session.windows = answer.windows
        self.status.transactions += 1
        self.status.outputs += len(answer.outputs)


class WindowLog:
    """Reads the windows of all clients from a topic."""

    def __init__(self, options: ClientOptions, clock: Clock, topic: str = names.FORWARDING) -> None:
        self._options = options
        self._clock = clock
        self._topic = topic

    def read(self) -> Windows:
        """Return the present windows by key. Raises NotReady, KafkaError."""
        with closing(LogReader(self._options, self._topic, is_committed=False)) as written:
            end = written.ends([PARTITION])[PARTITION]
        with closing(LogReader(self._options, self._topic)) as reader:
            found = self._read(reader, end)
        return found

    def _read(self, reader: LogReader, end: int) -> Windows:
        found: Windows = {}
        deadline = Deadline(READ_TIMEOUT_S, self._clock)
        reader.read_from(reader.begins([PARTITION]))
        while not reader.has_reached({PARTITION: end}):
            if deadline.is_over():
                raise NotReady(f"{self._topic} was not read to its end in {READ_TIMEOUT_S:g} s")
            for record in reader.poll(WINDOWS_POLL_MS).get(PARTITION, ()):
                if isinstance(record, UndecodableRecord):
                    continue  # the fetcher has logged the error
                key = record.key or b""
                if not key.startswith(PREFIX.encode()):
                    continue
                found.pop(key, None)
                if record.value is None:
                    continue
                try:
                    found[key] = decode_window(key, record.value)
                except ValueError as error:
                    log.error(
                        "%s@%d: the record of a window cannot be read: %s",
                        self._topic,
                        record.offset,
                        error,
                    )
        return found
