"""Moves messages in flight out of partitions that another member waits for.

A partition that is handed over is read by nobody until its slowest message is finished, and a
server may take minutes to answer. So what is still in flight after a short while is copied, in one
transaction with the offsets of its partitions, to a partition where nobody waits: the shelf of this
member, a partition of mail.handover, to which only its owner writes. The attempts go on; their
outcomes are committed with the offsets of the shelf. If the process dies, the next owner of the
shelf sends these messages again, as it would from their old partitions. Only messages that have
begun are moved, so the copies say that they were offered to a server.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from kafka.structs import OffsetAndMetadata, TopicPartition
from msgspec.structs import replace

from shared.stream import outputs
from shared.stream.jobs import AssignedPartition, Job
from shared.stream.ledger import PartitionLedger
from shared.stream.transactions import Output
from shared.topics.records import Message


def to_commit(ledger: PartitionLedger) -> OffsetAndMetadata:
    """Return the offset and metadata to commit for the settled messages."""
    return OffsetAndMetadata(ledger.low_water(), ledger.metadata(), -1)


class Move:
    """The move of these jobs to a shelf. They stay where they are until finish()."""

    def __init__(self, jobs: Sequence[Job], shelf: AssignedPartition) -> None:
        self.jobs = jobs
        self.shelf = shelf
        # The offsets of the copies, once they are known.
        self.placed: list[int] = []
        self._ledgers: dict[AssignedPartition, PartitionLedger] = {}
        for job in jobs:
            source = job.assigned
            if source not in self._ledgers:
                self._ledgers[source] = copy.deepcopy(source.ledger)
            self._ledgers[source].settle(job.offset, job.index)

    def copies(self) -> list[Output]:
        """The records to write to the shelf, one per job."""
        topic, partition = self.shelf.partition
        return [outputs.pack(topic, [_offered(job.message)], partition) for job in self.jobs]

    def offsets(self) -> dict[AssignedPartition, OffsetAndMetadata]:
        """The offsets to commit for the old partitions, on which the jobs are settled."""
        return {source: to_commit(ledger) for source, ledger in self._ledgers.items()}

    def finish(self) -> TopicPartition:
        """Make the shelf the place of the jobs, once the move has committed.

        Returns the shelf's partition.
        """
        # Settled in the ledgers as they are now: others may have begun since the copy was made.
        for job in self.jobs:
            job.assigned.ledger.settle(job.offset, job.index)
        for job, offset in zip(self.jobs, self.placed, strict=True):
            self.shelf.ledger.add(offset, 1)
            self.shelf.ledger.offer(offset, 0)
            job.assigned, job.offset, job.index = self.shelf, offset, 0
        return self.shelf.partition


def _offered(message: Message) -> Message:
    return replace(message, envelope=replace(message.envelope, is_offered=True))
