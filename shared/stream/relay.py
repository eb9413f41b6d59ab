"""Runs the loop of a service that processes each record exactly once, in the order of reading.

If the process dies before the commit is finished, no output is visible, and the next process reads
the same records again. If the process dies after the commit, the records are not read again. If the
process is paused for longer than its session time-out, the broker refuses the commit, because the
commit contains the membership under which the records were read. Then a new consumer joins.

When Kafka is unavailable, the loop waits and reads again from the committed offsets. When `process`
raises NotReady (a view that it needs is incomplete), nothing is consumed and the loop retries after
a second. The batch size is adapted so that a batch takes a few seconds at most. If a batch took
longer than the poll interval, the member would lose its membership, the broker would refuse the
commit, and the same records would be read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.runtime.clock import monotonic
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream.consumer import MembershipLost, Record, StreamConsumer
from shared.stream.loop import LoopStatus, SessionLoop
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.topics.names import REFUSED

log = logging.getLogger(__name__)

POLL_MS: Final = 200
RETRY_S: Final = 0.5
NOT_READY_S: Final = 1.0
# The maximum duration of a batch. This duration is less than a tenth of the poll interval, because
# a rebalance waits for the batch.
TARGET_S: Final = 5.0
MAX_RECORDS: Final = 2_000


class BatchSize:
    """Adapts the number of records in the next batch to the duration of the previous batches."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = most

    def took(self, records: int, seconds: float) -> None:
        """Record the duration of a batch of `records`, even if the batch was not committed."""
        if seconds > TARGET_S:
            self.records = max(1, int(records * TARGET_S / seconds))
        elif records >= self.records:
            self.records = min(self._most, 2 * self.records)


class NotReady(Exception):
    """`process` needs data that are not available yet. The text describes these data."""


class RelayStatus(LoopStatus):
    """The state of a relay, for its health check and metrics."""

    records: int = 0
    outputs: int = 0
    transactions: int = 0
    unreadable: int = 0
    lost_transactions: int = 0
    # The last reason why `process` was not ready.
    dependency: str = ""

    def waiting_by_check(self) -> dict[str, str]:
        """Return the reason for waiting for each of the checks `kafka` and `dependencies`."""
        is_other = self.waiting_for == self.dependency
        return {
            "kafka": "" if is_other else self.waiting_for,
            "dependencies": self.waiting_for if is_other else "",
        }


Process = Callable[[Sequence[Record]], Sequence[Output]]


class Relay:
    """The loop of one relay service, run in the caller's thread."""

    def __init__(
        self,
        service: str,
        make_consumer: Callable[[], StreamConsumer],
        producer: TransactionalProducer,
        process: Process,
        failpoints: Failpoints,
        *,
        max_records: int = MAX_RECORDS,
    ) -> None:
        self._service = service
        self._make_consumer = make_consumer
        self._producer = producer
        self._process = process
        self._failpoints = failpoints
        self._batch = BatchSize(max_records)
        self.status = RelayStatus()

    def run(self, stop: Stop) -> None:
        """Process batches until `stop` is set. Then finish the current batch."""
        loop = SessionLoop(
            self._service, self._open, lambda consumer: self._turn(consumer, stop), self.status
        )
        try:
            while not stop.is_set():
                if not loop.step():
                    stop.wait(RETRY_S)
        finally:
            self._producer.close()
            loop.close()

    def _open(self) -> StreamConsumer:
        # Open the producer first, because opening ends the transaction that an earlier process left
        # open. Before this transaction ends, the broker does not return the committed offsets.
        self._producer.open()
        return self._make_consumer()

    def _turn(self, consumer: StreamConsumer, stop: Stop) -> None:
        found = consumer.poll(POLL_MS, self._batch.records)
        if not found:
            self.status.waiting_for = consumer.waiting_for()
            return
        # Only poll() joins the group, so the records were read under this membership.
        membership = consumer.membership()
        if membership is None:
            raise MembershipLost("records were read while the group was being joined")
        self._failpoints.hit(f"{self._service}.polled")
        records = [record for part in found.values() for record in part]
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(part[-1].offset + 1, "", -1)
            for partition, part in found.items()
        }
        begun = monotonic()
        try:
            outputs = self._process(records)
            self._failpoints.hit(f"{self._service}.processed")
            consumer.require_same_topics()
            self._producer.commit(outputs, offsets, membership)
        except NotReady as reason:
            self.status.waiting_for = self.status.dependency = str(reason)
            log.warning("%s: the batch waits and is read again: %s", self._service, reason)
            self._rewind(consumer, stop)
            consumer.idle(NOT_READY_S)
            return
        except TransactionLost:
            # `process` may also raise this error, because it may ask the producer for a partition
            # count.
            self.status.lost_transactions += 1
            self._rewind(consumer, stop)
            raise
        finally:
            self._batch.took(len(records), monotonic() - begun)
        self.status.waiting_for = ""
        self.status.records += len(records)
        self.status.outputs += len(outputs)
        self.status.unreadable += sum(output.topic == REFUSED for output in outputs)
        self.status.transactions += 1

    def _rewind(self, consumer: StreamConsumer, stop: Stop) -> None:
        """Seek to the committed offsets, because uncommitted records must be read again."""
        while not stop.is_set():
            self.status.turns += 1
            try:
                self._producer.open()
                consumer.rewind()
                return
            except (TransactionLost, KafkaError) as error:
                self.status.waiting_for = f"Kafka: {error}"
                log.warning("%s: cannot go back to the committed offsets: %s", self._service, error)
                stop.wait(RETRY_S)
