"""Reads packs, hands their messages to an asyncio loop, and commits outcomes out of order.

One Kafka thread polls, hands out messages and runs the transactions; the event loop calls settle().
Each transaction contains the outputs of the messages settled since the last one and, for each
partition, the ledger's low-water mark and metadata (ledger.py, outcome_writer.py).

If the process

- dies, settled and committed messages are done; messages handed out and not committed come again,
  at most `max_in_flight` of them;
- is paused beyond its session, its lease has expired when it continues, so no message begins and no
  record is handed out before the broker confirms the membership. If the membership is lost, all
  partitions and messages are dropped and a new consumer joins: another member works on them, and
  at most the messages that had begun here are sent twice;
- must give up partitions in a rebalance, messages that have not begun are dropped; those that have
  begun are finished and committed while polling and heartbeats continue. The partition stays with
  this member until then, at most `handover_timeout_s`;
- is asked to stop, the same happens with all partitions, within `drain_timeout_s`.

A rebalance or a graceful stop therefore sends nothing twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream.consumer import MembershipLost, Record, StreamConsumer
from shared.stream.jobs import (
    UNREADABLE,
    AssignedPartition,
    HandOut,
    Job,
    Limits,
    NotBefore,
    Unreadable,
    WorkerStatus,
)
from shared.stream.ledger import MetadataError, PartitionLedger, Settled, decode_metadata
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.partition_pauser import PartitionPauser
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.topics.codec import CodecError, decode_pack

log = logging.getLogger(__name__)

POLL_MS: Final = 20
IDLE_POLL_MS: Final = 100
RETRY_S: Final = 0.5
POLL_RECORDS: Final = 16


class _Handover(Struct):
    """A revoked partition that is being drained until `until` (monotonic seconds)."""

    assigned: AssignedPartition
    until: float


def _close(consumer: StreamConsumer | None) -> None:
    if consumer is not None:
        consumer.close()


class Worker:
    """The Kafka thread of an out-of-order service."""

    def __init__(
        self,
        service: str,
        make_consumer: Callable[[], StreamConsumer],
        producer: TransactionalProducer,
        failpoints: Failpoints,
        limits: Limits,
    ) -> None:
        """`make_consumer` returns a StreamConsumer that keeps its claims."""
        self._service = service
        self._make_consumer = make_consumer
        self._producer = producer
        self._failpoints = failpoints
        self._limits = limits
        # After a lost transaction, up to two transactions' worth of outcomes are written.
        self._outcomes = OutcomeWriter(service, producer, failpoints, 2 * limits.commit_messages)
        self._assigned: dict[TopicPartition, AssignedPartition] = {}
        self._handovers: dict[TopicPartition, _Handover] = {}
        # Partitions that came back while they were drained; read again from the committed offset.
        self._returned: set[TopicPartition] = set()
        self._open_jobs: set[Job] = set()
        self._pauser = PartitionPauser()
        self._last_commit = 0.0
        self._stop_until: float | None = None
        self.status = WorkerStatus()

    # -- the loop's side -------------------------------------------------------------------

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Accept the outcome of a job: the records to write. Thread-safe."""
        self._outcomes.settle(job, outputs)

    # -- the Kafka thread ------------------------------------------------------------------

    def run(
        self,
        stop: Stop,
        hand_out: HandOut,
        unreadable: Unreadable,
        due_at_ms: NotBefore,
    ) -> None:
        """Work until `stop` is set, then drain. `hand_out` must return at once."""
        self._hand_out, self._unreadable, self._due_at_ms = hand_out, unreadable, due_at_ms
        consumer: StreamConsumer | None = None
        try:
            while not (stop.is_set() and self._has_drained(consumer)):
                try:
                    if consumer is None:
                        self._producer.open()
                        self._consumer = consumer = self._make_consumer()
                    self._turn()
                    self.status.waiting_for = consumer.waiting_for()
                except FencedInstanceIdError:
                    raise  # another process uses this instance name
                except MembershipLost as error:
                    log.warning("%s: membership lost: %s", self._service, error)
                    self.status.lost_memberships += 1
                    self._abandon()
                    _close(consumer)
                    consumer = None
                except (TransactionLost, KafkaError) as error:
                    self.status.waiting_for = f"Kafka: {error}"
                    log.warning("%s: waiting for Kafka: %s", self._service, error)
                    if not isinstance(error, TransactionLost):
                        self._abandon()
                        _close(consumer)
                        consumer = None
                    self._wait(stop)
        finally:
            self._producer.close()
            _close(consumer)

    def _wait(self, stop: Stop) -> None:
        if stop.is_set():
            time.sleep(RETRY_S)
        else:
            stop.wait(RETRY_S)

    def _abandon(self) -> None:
        """Drop all partitions and jobs; another member will send messages in flight again."""
        for assigned in [*self._assigned.values(), *(h.assigned for h in self._handovers.values())]:
            self._close(assigned)
            self._drop(assigned)
        self._assigned.clear()
        self._handovers.clear()
        self._returned.clear()
        self._pauser = PartitionPauser()
        self._outcomes.drop()

    def _has_drained(self, consumer: StreamConsumer | None) -> bool:
        """Whether no message is in flight any more, or the drain time-out is over."""
        if self._stop_until is None:
            self._stop_until = time.monotonic() + self._limits.drain_timeout_s
            for assigned in self._assigned.values():
                self._close(assigned)
        if consumer is None or not self._open_jobs:
            return True
        if time.monotonic() < self._stop_until:
            return False
        left = len(self._open_jobs)
        log.warning("%s: %d messages still under way after the drain", self._service, left)
        return True

    def _turn(self) -> None:
        self._pause()
        busy = bool(self._outcomes.waiting or self._open_jobs)
        found = self._consumer.poll(POLL_MS if busy else IDLE_POLL_MS, POLL_RECORDS)
        self._begin_handovers()
        if found and self._stop_until is None:
            self._failpoints.hit(f"{self._service}.polled")
            self._take(found)
        self._hand_out_declined()
        self._commit_if_due()
        self._finish_handovers()

    def _pause(self) -> None:
        limits, status, held = self._limits, self.status, self._assigned
        fill = max(
            len(self._open_jobs) / limits.max_in_flight,
            status.in_flight_bytes / limits.max_in_flight_bytes,
        )
        if self._stop_until is not None:
            fill = 1.0
        full = {partition for partition, assigned in held.items() if assigned.ledger.full()}
        self._pauser.settle(self._consumer, fill, full | self._handovers.keys() | self._returned)

    # -- reading ---------------------------------------------------------------------------

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
            self.status.in_flight_bytes += sum(len(job.message.content) for job in jobs)
            self._give(jobs)

    def _give(self, jobs: list[Job]) -> None:
        self.status.handed_out += len(jobs)
        self.status.in_flight = len(self._open_jobs)
        self._hand_out(jobs)
        self._failpoints.hit(f"{self._service}.handed_out")

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
            due_ms = self._due_at_ms(messages)
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
                    log.error("%s: commit metadata of %s: %s", self._service, partition, error)
            ledger = PartitionLedger(offset, settled)
            assigned = self._assigned[partition] = AssignedPartition(
                partition, ledger, self._consumer.has_lease
            )
        return assigned

    def _refuse(self, assigned: AssignedPartition, record: Record, reason: str) -> None:
        """Write a record that is not a pack to mail.refused, with its position and the reason."""
        self.status.unreadable += 1
        log.error("%s: %s/%d@%d: %s", self._service, *assigned.partition, record.offset, reason)
        for index in assigned.ledger.add(record.offset, 1):
            job = Job(assigned, record.offset, index, UNREADABLE)
            job.begun = True
            self._open_jobs.add(job)
            self.settle(job, self._unreadable(record, reason))

    # -- committing ------------------------------------------------------------------------

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
            self.status.lost_transactions += 1
            raise
        for job in done:
            self._forget(job)
        self.status.settled += len(done)
        self.status.transactions += bool(done)
        self._last_commit = time.monotonic()

    def _forget(self, job: Job) -> None:
        if job in self._open_jobs:
            self._open_jobs.discard(job)
            self.status.in_flight_bytes -= len(job.message.content)
            self.status.in_flight = len(self._open_jobs)

    # -- giving partitions up --------------------------------------------------------------

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
                log.warning("%s: %s/%d is released before it is drained", self._service, *partition)
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
