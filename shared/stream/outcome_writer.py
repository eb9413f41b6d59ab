"""Writes the outcomes of jobs, in transactions with the offsets of their partitions.

Owns: outcomes from settle() until they are known to have committed, and finding out whether a
transaction with an unknown result committed. Does not own: which jobs are open (worker.py).

When a transaction is lost, the outcomes are kept. The committed metadata shows whether the
transaction committed after all (it names exactly the settled messages); if not, the outcomes are
written again. An outage of the brokers therefore causes no second copy while this process lives.

A rebalance does not delay outcomes, however long another member takes to join. If the rebalance
ends during a commit, the broker refuses that commit and it is repeated.
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
from shared.stream.jobs import AssignedPartition, Job
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
        """`max_messages`: the largest number of outcomes per transaction."""
        self._service = service
        self._producer = producer
        self._failpoints = failpoints
        self._max_messages = max_messages
        self._settled: deque[tuple[Job, Sequence[Output]]] = deque()
        # The outcomes of the transaction being written, until it is known to have committed.
        self._writing: list[tuple[Job, Sequence[Output]]] = []
        # The offsets of a transaction whose result is unknown, and the holds they belong to.
        self._doubt: Mapping[TopicPartition, tuple[AssignedPartition, OffsetAndMetadata]] = {}

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Accept the outcome of a job: the records to write. Thread-safe."""
        self._settled.append((job, outputs))

    @property
    def waiting(self) -> int:
        """The number of outcomes that are not known to have committed."""
        return len(self._settled) + len(self._writing)

    def drop(self) -> None:
        """Drop the outcomes of partitions that belong to another member."""
        self._writing = [pair for pair in self._writing if not pair[0].assigned.gone]
        self._doubt = {p: pair for p, pair in self._doubt.items() if not pair[0].gone}

    def write(self, consumer: StreamConsumer) -> list[Job]:
        """Write the settled outcomes; return the finished jobs.

        Raises TransactionLost, in which case the outcomes are kept; MembershipLost.
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
        held = {job.assigned.partition: job.assigned for job, _ in self._writing}
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(
                assigned.ledger.low_water(), assigned.ledger.metadata(), -1
            )
            for partition, assigned in held.items()
        }
        records = [output for _, outputs in self._writing for output in outputs]
        try:
            self._producer.commit(records, offsets, membership)
        except TransactionLost:
            self._doubt = {p: (held[p], offset) for p, offset in offsets.items()}
            raise
        return done + self._written()

    def _collect(self) -> list[Job]:
        """Select settled outcomes for writing; return the jobs that need no record."""
        idle: list[Job] = []
        while self._settled and len(self._writing) < self._max_messages:
            job, outputs = self._settled.popleft()
            if job.assigned.gone or not job.assigned.ledger.settle(job.offset, job.index):
                idle.append(job)
                continue
            self._writing.append((job, outputs))
        return idle

    def _resolve_doubt(self, consumer: StreamConsumer) -> list[Job]:
        """Find out whether the lost transaction committed; if so, return the jobs it settled."""
        if not self._doubt:
            return []
        partition, (_, wanted) = next(iter(self._doubt.items()))
        try:
            # This ends or completes the old producer's transaction, so that the answer is final.
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
