"""Runs one group member, from its join until its membership or its client is lost.

This module owns the decisions which records to read, when to read, and when to commit outcomes. It
does not own the jobs in flight (holdings.py), the handover of partitions to other members
(handovers.py), uncommitted outcomes (outcome_writer.py), and further joins (worker.py).

close() drops all partitions and messages at once, because another member will process them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from shared.runtime.clock import monotonic, now_ms
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.handovers import Handovers
from shared.stream.holdings import Holdings
from shared.stream.jobs import (
    UNREADABLE,
    AssignedPartition,
    Handler,
    Job,
    Limits,
    WorkerStatus,
)
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.partition_pauser import PartitionPauser
from shared.stream.transactions import TransactionLost
from shared.topics.codec import CodecError, decode_pack
from shared.topics.records import Message

log = logging.getLogger(__name__)

POLL_MS: Final = 20
IDLE_POLL_MS: Final = 100
POLL_RECORDS: Final = 16


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
        """`consumer` has `keeps_claims`. `hit` counts a pass of the failpoint with this name."""
        self._consumer = consumer
        self._outcomes = outcomes
        self._handler = handler
        self._limits = limits
        self._status = status
        self._hit = hit
        self._kept = outcomes.kept
        self._holdings = Holdings(consumer, status, handler.may_begin, self._kept)
        self._handovers = Handovers(consumer, outcomes, self._holdings, limits)
        self._pauser = PartitionPauser(limits.handover_topic)
        self._last_commit = 0.0

    @property
    def in_flight(self) -> int:
        """Return the number of messages that are handed out but not yet committed."""
        return len(self._holdings.in_flight)

    def stop_reading(self) -> None:
        """Begin no further message. Finish the messages that have begun."""
        self._handovers.stop()

    def turn(self) -> None:
        """Poll, hand out, and commit. Raises MembershipLost, TransactionLost, KafkaError."""
        self._pause()
        found = self._poll()
        if self._handovers.is_stopping or self._bytes_fill() >= 1:
            for partition, records in found.items():
                self._pauser.wait_for_room(self._consumer, partition, records)
        elif found:
            self._hit("polled")
            self._take(found)
        self._hand_out_declined()
        self._handovers.hasten()
        self._commit_if_due()
        self._handovers.finish()
        self._holdings.note_oldest()
        self._note_kept()
        self._status.waiting_for = self._consumer.waiting_for()

    def close(self) -> None:
        """Drop all partitions and jobs, and leave the group."""
        for assigned in self._holdings.reading.values():
            self._holdings.close(assigned)
            self._holdings.drop(assigned)
        self._holdings.note_oldest()
        self._handovers.close()
        self._outcomes.drop()
        self._note_kept()
        self._consumer.close()

    def _note_kept(self) -> None:
        self._status.kept_outcomes = len(self._kept)
        self._status.dropped_outcomes = self._kept.dropped

    def _pause(self) -> None:
        fill = max(self.in_flight / self._limits.max_in_flight, self._bytes_fill())
        if self._handovers.is_stopping:
            fill = 1.0
        full = {p for p, assigned in self._holdings.reading.items() if assigned.ledger.full()}
        full |= self._handovers.unreadable()
        self._pauser.settle(self._consumer, fill, full, self._handovers.unread_shelves)

    def _poll(self) -> dict[TopicPartition, Sequence[Record]]:
        """Return the next records: kept records that may be read now, and new records."""
        busy = bool(self._outcomes.waiting or self._holdings.in_flight)
        wait_ms = POLL_MS if busy else IDLE_POLL_MS
        # Without a lease, the partitions may belong to another member, so no record may be handed
        # out.
        if self._pauser.has_ready and self._consumer.has_lease():
            wait_ms = 0
        found: dict[TopicPartition, Sequence[Record]] = dict(
            self._consumer.poll(wait_ms, POLL_RECORDS)
        )
        for partition in self._handovers.begin():
            self._pauser.forget(partition)
        if self._consumer.has_lease():
            found |= self._pauser.take_ready()
        return found

    def _bytes_fill(self) -> float:
        return self._status.in_flight_bytes / self._limits.max_in_flight_bytes

    def _take(self, found: dict[TopicPartition, Sequence[Record]]) -> None:
        unreadable = self._handovers.unreadable()
        self._give_back({p: records for p, records in found.items() if p in unreadable})
        found = {p: records for p, records in found.items() if p not in unreadable}
        self._know(found)
        jobs: list[Job] = []
        for partition, records in found.items():
            room = self._limits.max_in_flight - self.in_flight - len(jobs)
            jobs += self._read(partition, records, room)
        if jobs:
            self._holdings.add(jobs)
            # A job that has begun continues after its partition was lost and assigned again.
            if new := [job for job in jobs if not job.begun]:
                self._give(new)

    def _give(self, jobs: list[Job]) -> None:
        self._status.handed_out += len(jobs)
        self._handler.hand_out(jobs)
        self._hit("handed_out")

    def _hand_out_declined(self) -> None:
        """Hand out again the jobs that could not begin, for example because there was no lease."""
        if not self._holdings.may_begin():
            return
        for assigned in self._holdings.reading.values():
            declined = [job for job in assigned.take_declined() if job in self._holdings.in_flight]
            if declined:
                self._give(declined)

    def _read(self, partition: TopicPartition, records: Sequence[Record], room: int) -> list[Job]:
        """Return at most `room` jobs of these records. Read the other records again later."""
        assigned = self._holdings.partition(partition)
        jobs: list[Job] = []
        for at, record in enumerate(records):
            hold_s = self._handler.hold_s(partition.topic, len(jobs))
            if hold_s > 0:
                self._pauser.sleep(self._consumer, partition, records[at:], hold_s)
                break
            try:
                messages = decode_pack(record.value, record.headers)
            except CodecError as error:
                self._refuse(assigned, record, str(error))
                continue
            if (wait_s := self._wait_s(partition, messages, len(jobs))) > 0:
                self._pauser.sleep(self._consumer, partition, records[at:], wait_s)
                break
            is_alone = not jobs and room >= self._limits.max_in_flight
            if len(jobs) + len(messages) > room and not is_alone:
                # After a crash, at most this many messages are sent twice, so the limit must be
                # exact. Only a single pack may exceed the limit, while no other message is in
                # flight.
                self._pauser.wait_for_room(self._consumer, partition, records[at:])
                break
            jobs += self._jobs_of(assigned, record.offset, messages)
            if assigned.ledger.full():
                self._pauser.keep(self._consumer, partition, records[at + 1 :])
                break
        return jobs

    def _jobs_of(
        self, assigned: AssignedPartition, offset: int, messages: Sequence[Message]
    ) -> list[Job]:
        """Return the jobs of a pack. Jobs that began before their partition was lost continue.

        If the outcome of such a job is already known, the job is settled.
        """
        kept = self._kept.take(assigned, offset, messages)
        jobs: list[Job] = []
        for index in assigned.ledger.add(offset, len(messages)):
            found = kept.get(index)
            if found is None:
                jobs.append(Job(assigned, offset, index, messages[index]))
                continue
            self._holdings.resume(found.job, assigned, messages[index])
            if found.outputs is not None:
                self._outcomes.settle(found.job, found.outputs)
            jobs.append(found.job)
        return jobs

    def _wait_s(self, partition: TopicPartition, messages: Sequence[Message], more: int) -> float:
        """Return the waiting time of a partition's next pack. 0.0 or less means no wait."""
        due_ms = self._handler.due_at_ms(messages)
        if not due_ms:
            return 0.0
        due_in_s = (due_ms - now_ms()) / 1000
        return self._handler.wait_s(partition.topic, messages, more, due_in_s)

    def _know(self, found: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Create a ledger for each partition. If this fails, the records are read again later."""
        try:
            for partition in found:
                self._holdings.partition(partition)
        except KafkaError as error:
            self._give_back(found)
            raise TransactionLost(f"committed offsets: {error}") from error

    def _give_back(self, found: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Seek back, so that this member or another member reads these records again."""
        for partition, records in found.items():
            self._consumer.seek(partition, records[0].offset)

    def _refuse(self, assigned: AssignedPartition, record: Record, reason: str) -> None:
        """Write a record that is not a pack to mail.refused, with its position and the reason."""
        self._status.unreadable += 1
        log.error("record %s/%d@%d cannot be read: %s", *assigned.partition, record.offset, reason)
        for index in assigned.ledger.add(record.offset, 1):
            job = Job(assigned, record.offset, index, UNREADABLE)
            job.begun = True
            self._holdings.add([job])
            self._outcomes.settle(job, self._handler.unreadable(record, reason))

    def _commit_if_due(self) -> None:
        waiting = self._outcomes.waiting
        if not waiting:
            return
        is_old = monotonic() - self._last_commit >= self._limits.commit_interval_s
        if waiting < self._limits.commit_messages and not is_old:
            return
        try:
            self._outcomes.write(self._consumer)
        except TransactionLost:
            self._status.lost_transactions += 1
            raise
        finally:
            self._forget_finished()
        self._last_commit = monotonic()

    def _forget_finished(self) -> None:
        finished = self._outcomes.take_finished()
        for job in finished:
            self._holdings.forget(job)
        self._status.settled += len(finished)
        self._status.transactions += bool(finished)
