"""A transactional producer, which commits output records and consumed offsets atomically.

commit() returns when the broker has committed. It raises TransactionLost if the broker has not
committed, or if the result is unknown. After most errors, kafka-python's producer cannot be used
again, so it is discarded. The next commit() creates a new producer. The epoch of the new producer
fences the old producer, and the start of the new producer aborts or completes the old transaction.
After this, the caller reads its committed offsets to find out whether the old transaction was
committed.

A transaction is also lost if the brokers answer but a partition cannot be written, for example
because it has too few replicas in sync. The records are then written repeatedly until the partition
can be written. kafka-python's commit waits without a limit. If the commit hangs, the Watchdog ends
the process. docs/decisions/0003-lost-transactions.md explains why the Watchdog waits so long.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.stream.client import ClientOptions, make_producer
from shared.stream.client_events import ClientEvents, is_lost_with_its_topic
from shared.stream.kafka_python.producing import ask_for_topics, discard, unwritten
from shared.stream.sending import offset_of, send_all
from shared.stream.watchdog import Watchdog

log = logging.getLogger(__name__)

# Writing the records of a transaction may take MAX_FLUSHES times FLUSH_S while the brokers answer.
# During this time the process does not poll, so the time must be less than the poll interval and
# the watchdog's limit.
FLUSH_S: Final = 10.0
MAX_FLUSHES: Final = 3


class Output(NamedTuple):
    """One record to write. If `partition` is None, the key determines the partition.

    If `key` is None, too, the partition is random.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class TransactionLost(Exception):
    """A transaction did not commit, or its result is unknown."""


def _named(error: BaseException) -> str:
    """Return the class and text of an error. kafka-python's texts already begin with the class."""
    name, text = type(error).__name__, str(error)
    return text if text.startswith(name) else f"{name}: {text}"


def require_offsets(offsets: list[int]) -> list[int]:
    """Return these offsets, which must increase from record to record. Raises KafkaError.

    If the broker's answer to a record was lost and the record is sent again, the broker may answer
    with -1 instead of the offset.
    """
    if any(low >= high for low, high in pairwise([-1, *offsets])):
        raise KafkaError(f"no offsets for what was written: {offsets}")
    return offsets


class TransactionalProducer:
    """Writes the transactions of one service instance. Not thread-safe."""

    def __init__(
        self,
        options: ClientOptions,
        service: str,
        failpoints: Failpoints,
        watchdog: Watchdog,
        own_events: ClientEvents | None = None,
        writes: Collection[str] = (),
    ) -> None:
        """`own_events` removes copies for missing client topics. If None, there are no copies.

        `writes` are the topics to which the producer may write. The first record for any other
        topic delays its transaction until the topic's metadata arrive.
        """
        self._options = options
        self._service = service
        self._transactional_id = f"sluice.{service}.{options.instance}"
        self._failpoints = failpoints
        self._watchdog = watchdog
        self._own_events = own_events
        self._writes = tuple(writes)
        self._producer: KafkaProducer | None = None

    def open(self) -> None:
        """Create the producer, and end the transaction that an earlier process left open.

        Raises TransactionLost when no broker answers. The caller must then call open() again.
        """
        if self._producer is not None:
            return
        producer = None
        try:
            with self._watchdog.guard("init_transactions"):
                producer = make_producer(self._options, self._transactional_id)
                producer.init_transactions()
                ask_for_topics(producer, self._writes)
        except KafkaError as error:
            if producer is not None:
                discard(producer)
            raise TransactionLost(f"no transactional producer: {error}") from error
        self._producer = producer

    def partitions_for(self, topic: str) -> int:
        """Return the partition count of a topic. Raises TransactionLost if no broker answers."""
        self.open()
        assert self._producer is not None
        try:
            return len(self._producer.partitions_for(topic))
        except KafkaError as error:
            raise TransactionLost(f"partitions of {topic}: {error}") from error

    def commit(
        self,
        outputs: Iterable[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
        placed: list[int] | None = None,
    ) -> None:
        """Write these records and offsets in one transaction. Raises TransactionLost.

        `offsets` and `group` are None if the written records do not result from consumed records.
        The offsets of the written records are appended to `placed` before the commit begins, so
        that the caller knows them even if the result of the transaction is unknown.
        """
        self.open()
        producer = self._producer
        assert producer is not None
        own_events, records = self._own_events, list(outputs)
        try:
            if own_events is not None:
                missing = own_events.missing({output.topic for output in records}, producer)
                if missing:
                    records = [output for output in records if output.topic not in missing]
            with self._watchdog.guard("transaction"):
                self._run(producer, records, offsets, group, placed)
        except (KafkaError, AssertionError, RuntimeError) as error:
            # kafka-python raises AssertionError and RuntimeError for some of its internal errors.
            self._producer = None
            discard(producer)
            if own_events is not None:
                own_events.lost({output.topic for output in records}, error)
            raise TransactionLost(_named(error)) from error
        if own_events is not None:
            own_events.committed()

    def _run(
        self,
        producer: KafkaProducer,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None,
        group: ConsumerGroupMetadata | None,
        placed: list[int] | None,
    ) -> None:
        hit, service = self._failpoints.hit, self._service
        producer.begin_transaction()
        hit(f"{service}.begun")
        futures = send_all(producer, outputs)
        hit(f"{service}.produced")
        if offsets:
            producer.send_offsets_to_transaction(dict(offsets), group)
        hit(f"{service}.offsets_sent")
        # A failed record must never be treated as written. But the library also commits if a record
        # could not be written for delivery_timeout_ms, because only some errors end its
        # transaction.
        self._flush(producer)
        for output, future in zip(outputs, futures, strict=True):
            if future.failed() and not is_lost_with_its_topic(output.topic, future.exception):
                raise future.exception
        if placed is not None:
            placed += require_offsets([offset_of(future) for future in futures])
        producer.commit_transaction()
        hit(f"{service}.committed")

    def _flush(self, producer: KafkaProducer) -> None:
        """Wait until all records are written or have failed. Raises KafkaTimeoutError.

        While no broker answers, the wait continues, because the transaction may still commit.
        """
        missed = 0
        while missed < MAX_FLUSHES:
            try:
                producer.flush(FLUSH_S)
                return
            except KafkaTimeoutError:
                missed = 0 if self._watchdog.is_away() else missed + 1
        waiting = ", ".join(f"{topic}/{partition}" for topic, partition in unwritten(producer))
        raise KafkaTimeoutError(f"not written within {MAX_FLUSHES * FLUSH_S:g} s: {waiting}")

    def close(self) -> None:
        """Close the producer. If a transaction is open, the next producer with this id ends it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)
