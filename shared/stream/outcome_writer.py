"""Writes the outcomes of jobs in transactions, together with the offsets of their partitions.

This module owns each outcome from settle() until its commit is certain, and the check whether a
transaction with an unknown result was committed. It does not own the set of jobs in flight
(holdings.py).

When a transaction is lost, its outcomes stay in memory. The committed metadata list exactly the
settled messages, so the metadata show whether the transaction was committed. If the transaction was
not committed, the outcomes are written again. So an outage of the brokers causes no second copy of
a message while this process runs.

The same commits also list the messages that were offered to a server (ledger.py). Before the offer,
name() requests a commit that lists the message, and reports when this commit is certain. Until
then, each further commit lists the message again, even if Kafka is unavailable for a long time.

A rebalance does not delay outcomes, even if another member takes long to join. If the rebalance
ends during a commit, the broker refuses the commit, and the commit is repeated.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.stream.holdings import GroupMember, Move, to_commit
from shared.stream.jobs import AssignedPartition, Job
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.transactions import Output, TransactionLost

log = logging.getLogger(__name__)

Offsets = Mapping[AssignedPartition, OffsetAndMetadata]
# The writer calls this function once: with True if a commit lists the message as offered, or with
# False if this worker no longer owns the message.
Named = Callable[[bool], None]


class Transactions(Protocol):
    """The methods of a TransactionalProducer (transactions.py) that this module uses."""

    def open(self) -> None:
        """Abort or complete the last transaction. Raises TransactionLost."""
        ...

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
        placed: list[int] | None = None,
    ) -> None:
        """Write these records and offsets. Raises TransactionLost."""
        ...


class OutcomeWriter:
    """The outcomes of one worker. Any thread may call settle()."""

    def __init__(
        self,
        service: str,
        producer: Transactions,
        failpoints: Failpoints,
        max_messages: int,
        *,
        kept: KeptOutcomes,
    ) -> None:
        """`max_messages` is the maximum number of outcomes per transaction.

        `kept` gets the outcomes of lost partitions.
        """
        self._service = service
        self._producer = producer
        self._failpoints = failpoints
        self._max_messages = max_messages
        self.kept = kept
        self._settled: deque[tuple[Job, Sequence[Output]]] = deque()
        # The outcomes of the current transaction, until its commit is certain.
        self._writing: list[tuple[Job, Sequence[Output]]] = []
        self._finished: list[Job] = []
        # `_to_name` has the messages that wait to be named as offered. `_naming` has the messages
        # that the current transaction lists as offered.
        self._to_name: deque[tuple[Job, Named]] = deque()
        self._naming: list[tuple[Job, Named]] = []
        # Partitions whose last commit lists messages that were not offered.
        self._stale: set[AssignedPartition] = set()
        # `_to_move` has the jobs to move and their shelf. `_moving` is the move whose transaction
        # has no known result yet.
        self._to_move: tuple[Sequence[Job], AssignedPartition] | None = None
        self._moving: Move | None = None
        # The offsets of a transaction with an unknown result, by partition.
        self._doubt: Offsets = {}

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Accept the records to write as the outcome of a job. Thread-safe."""
        self._settled.append((job, outputs))

    def name(self, job: Job, named: Named) -> None:
        """Commit a mark that the message is offered, then call `named` in the Kafka thread."""
        self._to_name.append((job, named))

    def renew(self, assigned: AssignedPartition) -> None:
        """Commit this partition again if its last commit lists messages that were not offered."""
        if assigned.is_stale:
            self._stale.add(assigned)

    @property
    def waiting(self) -> int:
        """Return the number of outcomes, marks and moves whose commit is not yet certain."""
        outcomes = len(self._settled) + len(self._writing)
        return outcomes + len(self._to_name) + len(self._naming) + len(self._stale) + self.is_moving

    @property
    def is_moving(self) -> bool:
        """Return True if a move waits, or if the result of a move is not known."""
        return self._to_move is not None or self._moving is not None

    def move(self, jobs: Sequence[Job], shelf: AssignedPartition) -> None:
        """Let the next write() move these jobs (holdings.py). Finished jobs are not moved."""
        self._to_move = jobs, shelf

    def drop(self) -> None:
        """Drop the outcomes and moves of partitions that belong to another member."""
        for job, outputs in self._writing:
            if job.assigned.gone:
                self.kept.settle(job, outputs)
        self._writing = [pair for pair in self._writing if not pair[0].assigned.gone]
        self._stale = {assigned for assigned in self._stale if not assigned.gone}
        self._drop_names()
        self._doubt = {assigned: at for assigned, at in self._doubt.items() if not assigned.gone}
        if not self._doubt:
            self._moving = None
        if self._to_move is not None and self._to_move[1].gone:
            self._to_move = None

    def take_finished(self) -> list[Job]:
        """Return the jobs that finished since the last call, including jobs without an outcome."""
        finished, self._finished = self._finished, []
        return finished

    def write(self, member: GroupMember) -> None:
        """Write the settled outcomes, then carry out the move.

        Raises MembershipLost or TransactionLost. After TransactionLost, the outcomes are written
        again later.
        """
        if member.membership() is None:
            return
        self._resolve_doubt(member)
        self._collect()
        # Read the generation only now, because resolving the doubt may take a long time, and the
        # generation may change during this time. This member still owns its partitions, because
        # each of its joins lists them as owned.
        membership = member.membership()
        if membership is None:
            return
        if self._writing or self._naming or self._stale:
            self._failpoints.hit(f"{self._service}.settled")
            held = {job.assigned for job, _ in (*self._writing, *self._naming)} | self._stale
            if self._naming:
                self._failpoints.hit(f"{self._service}.naming")
            records = [output for _, outputs in self._writing for output in outputs]
            self._commit(records, {each: to_commit(each.ledger) for each in held}, membership)
            if self._naming:
                self._failpoints.hit(f"{self._service}.named")
            self._written()
            # Clear `is_stale` only here, not after a resolved doubt, because a mark may have been
            # removed since the transaction in doubt.
            for assigned in self._stale:
                assigned.is_stale = False
            self._stale.clear()
        if self._to_move is not None:
            self._move(member, membership)

    def _move(self, member: GroupMember, membership: ConsumerGroupMetadata) -> None:
        assert self._to_move is not None
        (jobs, shelf), self._to_move = self._to_move, None
        jobs = [
            job
            for job in jobs
            if not job.assigned.gone and job.assigned.ledger.is_open(job.offset, job.index)
        ]
        if not jobs:
            return
        move = self._moving = Move(jobs, shelf)
        self._commit(move.copies(), move.offsets(), membership, move.placed)
        self._moved(member)

    def _commit(
        self,
        records: Sequence[Output],
        offsets: Offsets,
        membership: ConsumerGroupMetadata,
        placed: list[int] | None = None,
    ) -> None:
        by_partition = {assigned.partition: offset for assigned, offset in offsets.items()}
        try:
            self._producer.commit(records, by_partition, membership, placed)
        except TransactionLost:
            self._doubt = offsets
            raise

    def _collect(self) -> None:
        """Select settled outcomes for the next transaction. Finish jobs that need no record."""
        while self._settled and len(self._writing) < self._max_messages:
            job, outputs = self._settled.popleft()
            if job.assigned.gone and self.kept.settle(job, outputs):
                continue
            if job.assigned.gone or not job.assigned.ledger.settle(job.offset, job.index):
                self._finished.append(job)
                continue
            self._writing.append((job, outputs))
        while self._to_name:
            self._naming.append(self._to_name.popleft())
        self._drop_names()
        for job, _ in self._naming:
            job.assigned.ledger.offer(job.offset, job.index)

    def _drop_names(self) -> None:
        """Call `named` with False for messages that this worker will not offer."""
        left = []
        for job, named in self._naming:
            assigned = job.assigned
            if assigned.closing or not assigned.ledger.is_open(job.offset, job.index):
                named(False)
            else:
                left.append((job, named))
        self._naming = left

    def _resolve_doubt(self, member: GroupMember) -> None:
        """If the lost transaction was committed, treat its outcomes as written."""
        if not self._doubt:
            return
        assigned, wanted = next(iter(self._doubt.items()))
        try:
            # open() aborts or completes the old producer's transaction, so the committed offset is
            # final.
            self._producer.open()
            found = member.committed(assigned.partition)
        except KafkaError as error:
            raise TransactionLost(f"a transaction is in doubt: {error}") from error
        self._doubt = {}
        has_committed = found is not None and (found.offset, found.metadata or "") == (
            wanted.offset,
            wanted.metadata,
        )
        if has_committed:
            log.info("%s: the transaction whose commit got no answer was committed", self._service)
        if self._moving is None:
            if has_committed:
                self._written()
        elif has_committed:
            self._moved(member)
        else:
            self._moving = None

    def _written(self) -> None:
        self._finished += [job for job, _ in self._writing]
        self._writing.clear()
        for job, named in self._naming:
            job.named = True
            named(not job.assigned.closing)
        self._naming.clear()

    def _moved(self, member: GroupMember) -> None:
        move, self._moving = self._moving, None
        assert move is not None
        shelf = move.finish()
        # The moved messages are already in flight here, so this member must not read their copies.
        if shelf in member.assignment():
            member.seek(shelf, move.placed[-1] + 1)
        log.info("%s: moved %d messages in flight to %s/%d", self._service, len(move.jobs), *shelf)
