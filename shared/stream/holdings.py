"""The partitions that a member reads, and its jobs in flight."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.stream.jobs import AssignedPartition, Job, WorkerStatus
from shared.stream.ledger import MetadataError, PartitionLedger, Settled, decode_metadata

log = logging.getLogger(__name__)


class Member(Protocol):
    """A member of a consumer group, as in consumer.py."""

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """The committed offset of a partition. Raises KafkaError."""
        ...

    def has_lease(self) -> bool:
        """Whether it is certainly a member now."""
        ...


class Holdings:
    """Owns the ledgers of the partitions being read, and which jobs are in flight."""

    def __init__(self, member: Member, status: WorkerStatus) -> None:
        self._member = member
        self._status = status
        # Those that are read. One that is handed over is no longer among them.
        self.reading: dict[TopicPartition, AssignedPartition] = {}
        self.in_flight: set[Job] = set()

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
                    log.error("commit metadata of %s/%d: %s", *partition, error)
            ledger = PartitionLedger(offset, settled)
            assigned = AssignedPartition(partition, ledger, self._member.has_lease)
            self.reading[partition] = assigned
        return assigned

    def add(self, jobs: Iterable[Job]) -> None:
        """Add jobs that are in flight from now on."""
        for job in jobs:
            self.in_flight.add(job)
            self._status.in_flight_bytes += len(job.message.content)
        self._status.in_flight = len(self.in_flight)

    def forget(self, job: Job) -> None:
        """Remove a job that is finished, or that another member does."""
        if job in self.in_flight:
            self.in_flight.discard(job)
            self._status.in_flight_bytes -= len(job.message.content)
            self._status.in_flight = len(self.in_flight)

    def close(self, assigned: AssignedPartition) -> None:
        """Let no further message of this partition begin; drop the jobs that have not begun."""
        with assigned.lock:
            assigned.closing = True
        assigned.take_declined()
        for job in [job for job in self._jobs_of(assigned) if not job.begun]:
            self.forget(job)

    def drop(self, assigned: AssignedPartition) -> None:
        """Drop a partition that belongs to another member from now on."""
        assigned.gone = True
        for job in self._jobs_of(assigned):
            self.forget(job)

    def _jobs_of(self, assigned: AssignedPartition) -> list[Job]:
        return [job for job in self.in_flight if job.assigned is assigned]
