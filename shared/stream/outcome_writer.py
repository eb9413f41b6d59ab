"""Writes the outcomes of jobs, in transactions with the offsets of the partitions they came from.

Owns: outcomes from settle() until they are known to have committed, and the question whether a
transaction whose result is unknown went through. Does not own: which jobs are open (worker.py).

When a transaction is lost the outcomes are kept. The committed metadata says whether it went
through after all (it names exactly what was settled); if not, they are written again. So an
absence of the brokers costs no second copy as long as this process lives.

A rebalance does not hold outcomes up, however long another member takes to join. A commit that
meets its end is refused by the broker and made again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Hold, Job
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost

log = logging.getLogger(__name__)


class OutcomeWriter:
    """The outcomes of one worker. settle() may be called from any thread."""

    def __init__(
        self,
        service: str,
        producer: TransactionalProducer,
        failpoints: Failpoints,
        max_messages: int,
    ) -> None:
        """`max_messages`: outcomes per transaction at most."""
        self._service = service
        self._producer = producer
        self._failpoints = failpoints
        self._max_messages = max_messages
        self._settled: deque[tuple[Job, Sequence[Output]]] = deque()
        # The outcomes of the transaction being written, until it is known to have committed.
        self._writing: list[tuple[Job, Sequence[Output]]] = []
        # The offsets of a transaction whose result is unknown, and the holds they belong to.
        self._doubt: Mapping[TopicPartition, tuple[Hold, OffsetAndMetadata]] = {}

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Take the outcome of a job: the records to write with it. Thread-safe."""
        self._settled.append((job, outputs))

    @property
    def waiting(self) -> int:
        """How many outcomes are not known to have committed."""
        return len(self._settled) + len(self._writing)

    def drop(self) -> None:
        """Forget the outcomes of partitions that are another member's."""
        self._writing = [pair for pair in self._writing if not pair[0].hold.gone]
        self._doubt = {p: pair for p, pair in self._doubt.items() if not pair[0].gone}

    def write(self, consumer: StreamConsumer) -> list[Job]:
        """Write what is settled; returns the jobs that are done with.

        Raises TransactionLost, and the outcomes are kept; MembershipLost.
        """
        if consumer.membership() is None:
            return []
        done = self._resolve_doubt(consumer)
        done += self._collect()
        # Read after the doubt is resolved, which takes its time: a rebalance may have moved on.
        # What this member holds is its own in the next generation too, for each join names it.
        membership = consumer.membership()
        if not self._writing or membership is None:
            return done
        self._failpoints.hit(f"{self._service}.settled")
        holds = {job.hold.partition: job.hold for job, _ in self._writing}
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(hold.ledger.low_water(), hold.ledger.metadata(), -1)
            for partition, hold in holds.items()
        }
        records = [output for _, outputs in self._writing for output in outputs]
        try:
            self._producer.commit(records, offsets, membership)
        except TransactionLost:
            self._doubt = {p: (holds[p], offset) for p, offset in offsets.items()}
            raise
        return done + self._written()

    def _collect(self) -> list[Job]:
        """Take settled outcomes up for writing; returns the jobs that need none."""
        idle: list[Job] = []
        while self._settled and len(self._writing) < self._max_messages:
            job, outputs = self._settled.popleft()
            if job.hold.gone or not job.hold.ledger.settle(job.offset, job.index):
                idle.append(job)
                continue
            self._writing.append((job, outputs))
        return idle

    def _resolve_doubt(self, consumer: StreamConsumer) -> list[Job]:
        """Ask whether the lost transaction committed; returns the jobs it settled if so."""
        if not self._doubt:
            return []
        partition, (_, wanted) = next(iter(self._doubt.items()))
        try:
            # Ends or completes what the old producer left open, so that the answer is final.
            self._producer.open()
            found = consumer.committed(partition)
        except KafkaError as error:
            raise TransactionLost(f"a transaction is in doubt: {error}") from error
        self._doubt = {}
        if found is None or (found.offset, found.metadata or "") != (
            wanted.offset,
            wanted.metadata,
        ):
            return []
        log.info("%s: the transaction in doubt did commit", self._service)
        return self._written()

    def _written(self) -> list[Job]:
        done = [job for job, _ in self._writing]
        self._writing.clear()
        return done
