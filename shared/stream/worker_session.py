"""The work of one member of the group: from joining until the membership or the client is lost.

Owns: the partitions assigned to this member with their ledgers, the messages in flight, and the
handover of revoked partitions. Does not own: outcomes until they have committed
(outcome_writer.py), joining again (worker.py).

If the process must give up partitions in a rebalance, messages that have not begun are dropped;
those that have begun are finished and committed while polling and heartbeats continue. The
partition stays with this member until then, at most `handover_timeout_s`. close() drops all
partitions and messages at once: another member works on them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.stream.consumer import Record, StreamConsumer
from shared.stream.jobs import (
    UNREADABLE,
    AssignedPartition,
    Handler,
    Job,
    Limits,
    WorkerStatus,
)
from shared.stream.ledger import MetadataError, PartitionLedger, Settled, decode_metadata
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.partition_pauser import PartitionPauser
from shared.stream.transactions import TransactionLost
from shared.topics.codec import CodecError, decode_pack

log = logging.getLogger(__name__)

POLL_MS: Final = 20
IDLE_POLL_MS: Final = 100
POLL_RECORDS: Final = 16


class _Handover(Struct):
    """A revoked partition that is being drained until `until` (monotonic seconds)."""

    assigned: AssignedPartition
    until: float


class WorkerSession:
    """The partitions and messages of one consumer. Use it only in the Kafka thread."""

    def __init__(
        self,
        consumer: StreamConsumer,
        outcomes: OutcomeWriter,
        handler: Handler,
        *,
        limits: Limits,
        status: WorkerStatus,
        hit: Callable[[str], None],
    ) -> None:
        """`consumer` keeps its claims; `hit` passes the service's failpoint of this name."""
        self._consumer = consumer
        self._outcomes = outcomes
        self._handler = handler
        self._limits = limits
        self._status = status
        self._hit = hit
        self._assigned: dict[TopicPartition, AssignedPartition] = {}
        self._handovers: dict[TopicPartition, _Handover] = {}
        # Partitions that came back while they were drained; read again from the committed offset.
        self._returned: set[TopicPartition] = set()
        self._open_jobs: set[Job] = set()
        self._pauser = PartitionPauser()
        self._last_commit = 0.0
        self._is_stopping = False

    @property
    def in_flight(self) -> int:
        """The number of messages handed out and not yet committed."""
        return len(self._open_jobs)

    def stop_reading(self) -> None:
        """Let no further message begin; those that have begun are finished."""
        self._is_stopping = True
        for assigned in self._assigned.values():
            self._close(assigned)

    def turn(self) -> None:
        """Poll, hand out, commit. Raises MembershipLost, TransactionLost, KafkaError."""
        self._pause()
        busy = bool(self._outcomes.waiting or self._open_jobs)
        found = self._consumer.poll(POLL_MS if busy else IDLE_POLL_MS, POLL_RECORDS)
        self._begin_handovers()
        if found and not self._is_stopping:
            self._hit("polled")
            self._take(found)
        self._hand_out_declined()
        self._commit_if_due()
        self._finish_handovers()
        self._status.waiting_for = self._consumer.waiting_for()

    def close(self) -> None:
        """Drop all partitions and jobs, and leave the group."""
        for assigned in [*self._assigned.values(), *(h.assigned for h in self._handovers.values())]:
            self._close(assigned)
            self._drop(assigned)
        self._outcomes.drop()
        self._consumer.close()

    def _pause(self) -> None:
        limits, status, held = self._limits, self._status, self._assigned
        fill = max(
            len(self._open_jobs) / limits.max_in_flight,
            status.in_flight_bytes / limits.max_in_flight_bytes,
        )
        if self._is_stopping:
            fill = 1.0
        full = {partition for partition, assigned in held.items() if assigned.ledger.full()}
        self._pauser.settle(self._consumer, fill, full | self._handovers.keys() | self._returned)

    def _take(self, found: dict[TopicPartition, list[Record]]) -> None:
        for partition in found.keys() & (self._handovers.keys() | self._returned):
            # It came back while it was drained; see _finish_handovers().
            found.pop(partition)
        self._know(found)
        jobs: list[Job] = []
        for partition, records in found.items():
            room = self._limits.max_in_flight - len(self._open_jobs) - len(jobs)
            jobs += self._read(partition, records, room)
        if jobs:
            self._open_jobs.update(jobs)
            self._status.in_flight_bytes += sum(len(job.message.content) for job in jobs)
            self._give(jobs)

    def _give(self, jobs: list[Job]) -> None:
        self._status.handed_out += len(jobs)
        self._status.in_flight = len(self._open_jobs)
        self._handler.hand_out(jobs)
        self._hit("handed_out")

    def _hand_out_declined(self) -> None:
        """Hand out again the jobs that could not begin while the membership was uncertain."""
        if not self._consumer.has_lease():
            return
        for assigned in self._assigned.values():
            declined = [job for job in assigned.take_declined() if job in self._open_jobs]
            if declined:
                self._give(declined)

    def _read(self, partition: TopicPartition, records: Sequence[Record], room: int) -> list[Job]:
        """Return the jobs of these records, at most `room`; the rest is read again later."""
        assigned = self._assigned_partition(partition)
        jobs: list[Job] = []
        for record in records:
            try:
                messages = decode_pack(record.value, record.headers)
            except CodecError as error:
                self._refuse(assigned, record, str(error))
                continue
            due_ms = self._handler.due_at_ms(messages)
            wait_s = due_ms / 1000 - time.time() if due_ms else 0.0
            if wait_s > 0:
                self._pauser.sleep(self._consumer, partition, record.offset, wait_s)
                break
            is_alone = not jobs and room >= self._limits.max_in_flight
            if len(jobs) + len(messages) > room and not is_alone:
                # A crash sends at most this many messages twice, so the limit is exact. Only a
                # single pack that is larger than the limit exceeds it, with nothing else in flight.
                self._pauser.wait_for_room(self._consumer, partition, record.offset)
                break
            for index in assigned.ledger.add(record.offset, len(messages)):
                jobs.append(Job(assigned, record.offset, index, messages[index]))
            if assigned.ledger.full():
                self._consumer.seek(partition, record.offset + 1)
                break
        return jobs

    def _know(self, found: dict[TopicPartition, list[Record]]) -> None:
        """Create a ledger for each partition; if that fails, the records are read again."""
        try:
            for partition in found:
                self._assigned_partition(partition)
        except KafkaError as error:
            for partition, records in found.items():
                self._consumer.seek(partition, records[0].offset)
            raise TransactionLost(f"committed offsets: {error}") from error

    def _assigned_partition(self, partition: TopicPartition) -> AssignedPartition:
        assigned = self._assigned.get(partition)
        if assigned is None:
            found = self._consumer.committed(partition)
            offset, settled = 0, Settled()
            if found is not None and found.offset >= 0:
                offset = found.offset
                try:
                    settled = decode_metadata(found.metadata or "", offset)
                except MetadataError as error:
                    # Reading again from the low-water mark may send twice, but loses nothing.
                    log.error("commit metadata of %s/%d: %s", *partition, error)
            ledger = PartitionLedger(offset, settled)
            assigned = self._assigned[partition] = AssignedPartition(
                partition, ledger, self._consumer.has_lease
            )
        return assigned

    def _refuse(self, assigned: AssignedPartition, record: Record, reason: str) -> None:
        """Write a record that is not a pack to mail.refused, with its position and the reason."""
        self._status.unreadable += 1
        log.error("%s/%d@%d: %s", *assigned.partition, record.offset, reason)
        for index in assigned.ledger.add(record.offset, 1):
            job = Job(assigned, record.offset, index, UNREADABLE)
            job.begun = True
            self._open_jobs.add(job)
            self._outcomes.settle(job, self._handler.unreadable(record, reason))

    def _commit_if_due(self) -> None:
        waiting = self._outcomes.waiting
        if not waiting:
            return
        is_old = time.monotonic() - self._last_commit >= self._limits.commit_interval_s
        if waiting < self._limits.commit_messages and not is_old:
            return
        try:
            done = self._outcomes.write(self._consumer)
        except TransactionLost:
            self._status.lost_transactions += 1
            raise
        for job in done:
            self._forget(job)
        self._status.settled += len(done)
        self._status.transactions += bool(done)
        self._last_commit = time.monotonic()

    def _forget(self, job: Job) -> None:
        if job in self._open_jobs:
            self._open_jobs.discard(job)
            self._status.in_flight_bytes -= len(job.message.content)
            self._status.in_flight = len(self._open_jobs)

    def _begin_handovers(self) -> None:
        """Begin to drain revoked partitions."""
        for partition in self._consumer.take_revoked():
            self._pauser.forget(partition)
            self._returned.discard(partition)
            assigned = self._assigned.pop(partition, None)
            if assigned is not None:
                self._close(assigned)
                until = time.monotonic() + self._limits.handover_timeout_s
                self._handovers[partition] = _Handover(assigned, until)
            elif partition not in self._handovers:
                self._consumer.release([partition])

    def _finish_handovers(self) -> None:
        """Release the partitions that are drained or whose handover time-out is over."""
        if self._returned:
            self._reread_returned()
        if not self._handovers:
            return
        open_partitions = {job.assigned for job in self._open_jobs}
        now = time.monotonic()
        for partition, handover in list(self._handovers.items()):
            if handover.assigned in open_partitions:
                if now < handover.until:
                    continue
                log.warning("%s/%d is released before it is drained", *partition)
            del self._handovers[partition]
            self._drop(handover.assigned)
            self._outcomes.drop()
            if partition in self._consumer.assignment():
                self._returned.add(partition)
            self._consumer.release([partition])

    def _reread_returned(self) -> None:
        """Rewind partitions that came back to the offsets committed while they were drained."""
        try:
            self._consumer.rewind(self._returned)
        except KafkaError as error:
            raise TransactionLost(f"committed offsets: {error}") from error
        self._returned.clear()

    def _close(self, assigned: AssignedPartition) -> None:
        """Let no further message of this partition begin; drop the jobs that have not begun."""
        with assigned.lock:
            assigned.closing = True
        assigned.take_declined()
        for job in [job for job in self._open_jobs if job.assigned is assigned and not job.begun]:
            self._forget(job)

    def _drop(self, assigned: AssignedPartition) -> None:
        """Drop a partition that belongs to another member from now on."""
        assigned.gone = True
        for job in [job for job in self._open_jobs if job.assigned is assigned]:
            self._forget(job)
