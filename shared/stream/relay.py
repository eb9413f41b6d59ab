"""Read, process, write: a service that answers each record at once, exactly once.

What happens when the process dies: before the commit is finished, nothing is visible to
anyone and the successor reads the same records again; after it, they are done. When Kafka is
away the loop waits and reads again from what is committed. When `process` raises NotReady
(a view it needs is not whole) nothing is consumed and the loop asks again after a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition
from msgspec import Struct

from shared.runtime.lifecycle import Stop
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.failpoints import Failpoints
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost

log = logging.getLogger(__name__)

POLL_MS: Final = 200
RETRY_S: Final = 0.5
NOT_READY_S: Final = 1.0


class NotReady(Exception):  # noqa: N818 - a state, not a fault
    """What `process` needs is not there yet; the text says what."""


class RelayStatus(Struct):
    """What a health check and the metrics tell of a relay."""

    records: int = 0
    outputs: int = 0
    transactions: int = 0
    lost_transactions: int = 0
    waiting_for: str = "start"


Process = Callable[[Sequence[Record]], Sequence[Output]]


class Relay:
    """The loop of one relay service, run in the caller's thread."""

    def __init__(
        self,
        service: str,
        make_consumer: Callable[[Relay], StreamConsumer],
        producer: TransactionalProducer,
        process: Process,
        failpoints: Failpoints,
    ) -> None:
        self._service = service
        self._make_consumer = make_consumer
        self._producer = producer
        self._process = process
        self._failpoints = failpoints
        self.max_records = 2_000
        self.status = RelayStatus()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is held between polls, so nothing has to be settled."""

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """The same."""

    def run(self, stop: Stop) -> None:
        """Work until `stop` is set; the batch in hand is finished first."""
        consumer: StreamConsumer | None = None
        try:
            while not stop.is_set():
                try:
                    consumer = consumer or self._open()
                    self._turn(consumer, stop)
                except FencedInstanceIdError:
                    raise  # another process bears our name: two must not work as one
                except (TransactionLost, KafkaError) as error:
                    self.status.waiting_for = f"Kafka: {error}"
                    log.warning("%s: waiting for Kafka: %s", self._service, error)
                    if consumer is not None and not isinstance(error, TransactionLost):
                        consumer.close()
                        consumer = None
                    stop.wait(RETRY_S)
        finally:
            self._producer.close()
            if consumer is not None:
                consumer.close()

    def _open(self) -> StreamConsumer:
        # First the producer: it ends the transaction that a predecessor left open, without
        # which the committed offsets would not be told.
        self._producer.open()
        return self._make_consumer(self)

    def _turn(self, consumer: StreamConsumer, stop: Stop) -> None:
        found = consumer.poll(POLL_MS, self.max_records)
        if not found:
            self.status.waiting_for = ""
            return
        self._failpoints.hit(f"{self._service}.polled")
        records = [record for part in found.values() for record in part]
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(part[-1].offset + 1, "", -1)
            for partition, part in found.items()
        }
        try:
            outputs = self._process(records)
            self._failpoints.hit(f"{self._service}.processed")
            self._producer.commit(outputs, offsets, consumer.group_metadata())
        except NotReady as reason:
            self.status.waiting_for = str(reason)
            log.warning("%s: waiting: %s", self._service, reason)
            self._rewind(consumer, stop)
            consumer.idle(NOT_READY_S)
            return
        except TransactionLost:
            # `process` may ask the producer too (how many partitions a topic has).
            self.status.lost_transactions += 1
            self._rewind(consumer, stop)
            raise
        self.status.waiting_for = ""
        self.status.records += len(records)
        self.status.outputs += len(outputs)
        self.status.transactions += 1

    def _rewind(self, consumer: StreamConsumer, stop: Stop) -> None:
        """Go back to what is committed; records read and not committed must come again."""
        while not stop.is_set():
            try:
                self._producer.open()
                consumer.rewind()
                return
            except (TransactionLost, KafkaError) as error:
                self.status.waiting_for = f"Kafka: {error}"
                log.warning("%s: rewinding: %s", self._service, error)
                stop.wait(RETRY_S)
