"""Stores the partitions that a member reads and its jobs in flight, and moves jobs to a shelf.

While a partition is being handed over, no member reads it until its slowest message is finished. A
server may take minutes to answer. So messages that are still in flight after a short time are
copied to a shelf. A shelf is a partition of mail.handover for which no other member waits, and to
which only its owner writes. One transaction contains the copies and the offsets of the old
partitions. The delivery attempts continue, and their outcomes are committed with the offsets of the
shelf. If the process dies, the next owner of the shelf sends these messages again. Without the
move, the next owner of the old partition would send them again. Only messages whose attempt has
begun are moved, so each copy is marked as offered to a server.

This module owns the ledgers, and the set of jobs in flight. It does not own the decisions when a
partition is handed over and which jobs are moved (handovers.py), and the transactions
(outcome_writer.py).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition
from msgspec.structs import replace

from shared.runtime.clock import monotonic
from shared.stream import outputs
from shared.stream.jobs import AssignedPartition, Job, WorkerStatus
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.ledger import MetadataError, PartitionLedger, Settled, decode_metadata
from shared.stream.transactions import Output
from shared.topics.records import Message

log = logging.getLogger(__name__)


class GroupMember(Protocol):
    """The methods of a StreamConsumer (consumer.py) that this module uses."""

    def membership(self) -> ConsumerGroupMetadata | None:
        """Return the present generation, or None before the first join. Raises MembershipLost."""
        ...

    def has_lease(self) -> bool:
        """Return True if this process is certainly a group member now."""
        ...

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Return the committed offset of a partition. Raises KafkaError."""
        ...

    def assignment(self) -> set[TopicPartition]:
        """Return the assigned partitions."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Continue reading a partition at this offset."""
        ...

    def topic_id(self, topic: str) -> UUID | None:
        """Return the id of the topic that is read under this name, or None if it is not known."""
        ...


class Holdings:
    """The ledgers of the partitions being read, and the jobs in flight."""

    def __init__(
        self,
        member: GroupMember,
        status: WorkerStatus,
        may_begin: Callable[[], bool],
        kept: KeptOutcomes,
    ) -> None:
        """`may_begin` returns whether the service allows new attempts now."""
        self._member = member
        self._kept = kept
        self._may_begin = may_begin
        self._status = status
        # The partitions being read. A partition is removed as soon as its handover begins.
        self.reading: dict[TopicPartition, AssignedPartition] = {}
        # The jobs in flight, and the time at which each job was added. The oldest job is the first.
        self.in_flight: dict[Job, float] = {}

    def partition(self, partition: TopicPartition) -> AssignedPartition:
        """Return this partition. It begins at its committed offset if new. Raises KafkaError."""
        assigned = self.reading.get(partition)
        if assigned is None:
            found = self._member.committed(partition)
            offset, settled = 0, Settled()
            if found is not None and found.offset >= 0:
                offset = found.offset
                try:
                    settled = decode_metadata(found.metadata or "", offset)
                except MetadataError as error:
                    # Reading again from the low-water mark may send a message twice, but loses no
                    # message.
                    log.error("the commit metadata of %s/%d cannot be read: %s", *partition, error)
            ledger = PartitionLedger(offset, settled)
            topic_id = self._member.topic_id(partition.topic)
            assigned = AssignedPartition(partition, ledger, self.may_begin, topic_id)
            self.reading[partition] = assigned
            self._kept.begin(assigned, offset)
        return assigned

    def may_begin(self) -> bool:
        """Return True if membership is certain and the service allows new attempts."""
        return self._member.has_lease() and self._may_begin()

    def add(self, jobs: Iterable[Job]) -> None:
        """Add jobs, which are in flight from now on."""
        now = monotonic()
        for job in jobs:
            self.in_flight[job] = now
            self._status.in_flight_bytes += len(job.message.content)
        self._status.in_flight = len(self.in_flight)

    def forget(self, job: Job) -> None:
        """Remove a job that is finished or belongs to another member."""
        if job in self.in_flight:
            del self.in_flight[job]
            self._status.in_flight_bytes -= len(job.message.content)
            self._status.in_flight = len(self.in_flight)

    def note_oldest(self) -> None:
        """Store, in the status, the time at which the oldest job in flight was added."""
        self._status.oldest_at = next(iter(self.in_flight.values()), None)

    def close(self, assigned: AssignedPartition) -> None:
        """Begin no further message of this partition, and drop its jobs that have not yet begun.

        If the ledger marks a dropped job as offered, the mark is removed, and another commit is
        due.
        """
        with assigned.lock:
            assigned.closing = True
        assigned.take_declined()
        for job in [job for job in self._jobs_of(assigned) if not job.begun]:
            if not job.in_doubt and assigned.ledger.take_back(job.offset, job.index):
                assigned.is_stale = True
            self.forget(job)

    def drop(self, assigned: AssignedPartition) -> None:
        """Drop a partition, because it now belongs to another member.

        The begun jobs of the partition are kept, because the partition may be assigned again.
        """
        assigned.gone = True
        for job in self._jobs_of(assigned):
            self._kept.keep(job)
            self.forget(job)

    def resume(self, job: Job, assigned: AssignedPartition, message: Message) -> None:
        """Let a job of a lost partition continue on the same record, which was read again."""
        is_offered = job.assigned.ledger.is_offered(job.offset, job.index)
        job.assigned, job.message = assigned, message
        if is_offered:
            assigned.ledger.offer(job.offset, job.index)

    def _jobs_of(self, assigned: AssignedPartition) -> list[Job]:
        return [job for job in self.in_flight if job.assigned is assigned]


def to_commit(ledger: PartitionLedger) -> OffsetAndMetadata:
    """Return the offset and metadata to commit for the settled messages."""
    return OffsetAndMetadata(ledger.low_water(), ledger.metadata(), -1)


class Move:
    """Moves jobs to a shelf. The jobs keep their old partitions until finish()."""

    def __init__(self, jobs: Sequence[Job], shelf: AssignedPartition) -> None:
        self.jobs = jobs
        self.shelf = shelf
        # The offsets of the copies; empty until the offsets are known.
        self.placed: list[int] = []
        self._ledgers: dict[AssignedPartition, PartitionLedger] = {}
        for job in jobs:
            source = job.assigned
            if source not in self._ledgers:
                self._ledgers[source] = copy.deepcopy(source.ledger)
            self._ledgers[source].settle(job.offset, job.index)

    def copies(self) -> list[Output]:
        """Return the records to write to the shelf, one per job."""
        topic, partition = self.shelf.partition
        return [outputs.pack(topic, [_offered(job.message)], partition) for job in self.jobs]

    def offsets(self) -> dict[AssignedPartition, OffsetAndMetadata]:
        """Return the offsets to commit for the old partitions, as if the jobs were settled."""
        return {source: to_commit(ledger) for source, ledger in self._ledgers.items()}

    def finish(self) -> TopicPartition:
        """Assign the jobs to the shelf after the move is committed. Return the new partition."""
        # Settle in the original ledgers, because other jobs may have begun after the ledgers were
        # copied.
        for job in self.jobs:
            job.assigned.ledger.settle(job.offset, job.index)
        for job, offset in zip(self.jobs, self.placed, strict=True):
            self.shelf.ledger.add(offset, 1)
            self.shelf.ledger.offer(offset, 0)
            job.assigned, job.offset, job.index = self.shelf, offset, 0
        return self.shelf.partition


def _offered(message: Message) -> Message:
    return replace(message, envelope=replace(message.envelope, is_offered=True))
