"""The partitions that a member reads, and its jobs in flight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.runtime.clock import monotonic
from shared.stream.jobs import AssignedPartition, Job, WorkerStatus
from shared.stream.ledger import MetadataError, PartitionLedger, Settled, decode_metadata

log = logging.getLogger(__name__)


class GroupMember(Protocol):
    """A member of a consumer group, as in consumer.py."""

    def membership(self) -> ConsumerGroupMetadata | None:
        """The present generation; None before the first join. Raises MembershipLost."""
        ...

    def has_lease(self) -> bool:
        """Whether it is certainly a member now."""
        ...

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """The committed offset of a partition. Raises KafkaError."""
        ...

    def assignment(self) -> set[TopicPartition]:
        """The assigned partitions."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition from this offset on."""
        ...


class Holdings:
    """Owns the ledgers of the partitions being read, and which jobs are in flight."""

    def __init__(
        self, member: GroupMember, status: WorkerStatus, may_begin: Callable[[], bool]
    ) -> None:
        """`may_begin`: whether messages may begin at all now."""
        self._member = member
        self._may_begin = may_begin
        self._status = status
        # The partitions being read; one that is handed over is removed at once.
        self.reading: dict[TopicPartition, AssignedPartition] = {}
        # With the time of each, the oldest first.
        self.in_flight: dict[Job, float] = {}

    def partition(self, partition: TopicPartition) -> AssignedPartition:
        """The ledger of a partition, from its committed offset on. Raises KafkaError."""
        assigned = self.reading.get(partition)
        if assigned is None:
            found = self._member.committed(partition)
            offset, settled = 0, Settled()
            if found is not None and found.offset >= 0:
                offset = found.offset
                try:
                    settled = decode_metadata(found.metadata or "", offset)
                except MetadataError as error:
                    # Reading again from the low-water mark may send twice, but loses nothing.
                    log.error("the commit metadata of %s/%d cannot be read: %s", *partition, error)
            ledger = PartitionLedger(offset, settled)
            assigned = AssignedPartition(partition, ledger, self.may_begin)
            self.reading[partition] = assigned
        return assigned

    def may_begin(self) -> bool:
        """Whether a message may begin: this process is certainly a member, and nothing forbids."""
        return self._member.has_lease() and self._may_begin()

    def add(self, jobs: Iterable[Job]) -> None:
        """Add jobs that are in flight from now on."""
        now = monotonic()
        for job in jobs:
            self.in_flight[job] = now
            self._status.in_flight_bytes += len(job.message.content)
        self._status.in_flight = len(self.in_flight)

    def forget(self, job: Job) -> None:
        """Remove a job that is finished, or that another member does."""
        if job in self.in_flight:
            del self.in_flight[job]
            self._status.in_flight_bytes -= len(job.message.content)
            self._status.in_flight = len(self.in_flight)

    def note_oldest(self) -> None:
        """Show since when the oldest job is in flight."""
        self._status.oldest_at = next(iter(self.in_flight.values()), None)

    def close(self, assigned: AssignedPartition) -> None:
        """Let no further message of this partition begin; drop the jobs that have not begun.

        Those named as offered are not, so their names are taken back; the next commit says so.
        """
        with assigned.lock:
            assigned.closing = True
        assigned.take_declined()
        for job in [job for job in self._jobs_of(assigned) if not job.begun]:
            if not job.in_doubt and assigned.ledger.take_back(job.offset, job.index):
                assigned.is_stale = True
            self.forget(job)

    def drop(self, assigned: AssignedPartition) -> None:
        """Drop a partition that belongs to another member from now on."""
        assigned.gone = True
        for job in self._jobs_of(assigned):
            self.forget(job)

    def _jobs_of(self, assigned: AssignedPartition) -> list[Job]:
        return [job for job in self.in_flight if job.assigned is assigned]
