"""Read packs, hand their messages to an asyncio loop, commit what settles out of order.

One Kafka thread polls, hands out and runs the transactions; the loop's side calls settle().
Each transaction holds the outputs of the messages settled since the last one, and for each
partition the ledger's low-water mark and metadata (ledger.py).

When the process dies: what was settled and committed is done; what was handed out and not
committed comes again, at most `max_in_flight` messages. When a transaction is lost, the
outcomes are kept: the committed metadata tells whether it went through after all (it names
exactly what was settled), and if it did not, they are written again. So a broker's absence
costs no second copy as long as this process lives.

On a rebalance and on SIGTERM messages not begun are given up, those begun are waited for and
committed, so that a graceful change sends nothing twice.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.runtime.lifecycle import Stop
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.failpoints import Failpoints
from shared.stream.jobs import (
    UNREADABLE,
    HandOut,
    Hold,
    Job,
    Limits,
    NotBefore,
    Unreadable,
    WorkerStatus,
)
from shared.stream.ledger import MetadataError, PartitionLedger, Settled, decode_metadata
from shared.stream.pausing import Pausing
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.topics.codec import CodecError, decode_pack

log = logging.getLogger(__name__)

POLL_MS: Final = 20
IDLE_POLL_MS: Final = 100
RETRY_S: Final = 0.5
POLL_RECORDS: Final = 16


class Worker:
    """The Kafka thread of an out-of-order service."""

    def __init__(
        self,
        service: str,
        make_consumer: Callable[[Worker], StreamConsumer],
        producer: TransactionalProducer,
        failpoints: Failpoints,
        limits: Limits,
    ) -> None:
        self._service = service
        self._make_consumer = make_consumer
        self._producer = producer
        self._failpoints = failpoints
        self._limits = limits
        self._holds: dict[TopicPartition, Hold] = {}
        self._settled: deque[tuple[Job, Sequence[Output]]] = deque()
        # Outcomes of the transaction being written, kept until it is known to have committed.
        self._writing: list[tuple[Job, Sequence[Output]]] = []
        self._open_jobs: set[Job] = set()
        self._pausing = Pausing()
        self._last_commit = 0.0
        self._give_up_at: float | None = None
        self.status = WorkerStatus()

    # -- the loop's side -------------------------------------------------------------------

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Tell the outcome of a job: the records to write with it. Thread-safe."""
        self._settled.append((job, outputs))

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
            while not stop.is_set():
                try:
                    if consumer is None:
                        self._producer.open()
                        consumer = self._make_consumer(self)
                    self._consumer = consumer
                    self._turn()
                    self.status.waiting_for = ""
                except FencedInstanceIdError:
                    raise  # another process bears our name: two must not work as one
                except (TransactionLost, KafkaError) as error:
                    self.status.waiting_for = f"Kafka: {error}"
                    log.warning("%s: waiting for Kafka: %s", self._service, error)
                    if consumer is not None and not isinstance(error, TransactionLost):
                        self.lost(list(self._holds))
                        consumer.close()
                        consumer = None
                    stop.wait(RETRY_S)
            if consumer is not None:
                self._drain(list(self._holds.values()))
                self._holds.clear()
        finally:
            self._producer.close()
            if consumer is not None:
                consumer.close()

    def _turn(self) -> None:
        self._pause()
        busy = bool(self._settled or self._open_jobs)
        found = self._consumer.poll(POLL_MS if busy else IDLE_POLL_MS, POLL_RECORDS)
        if found:
            self._failpoints.hit(f"{self._service}.polled")
            self._know(found)
            jobs: list[Job] = []
            for partition, records in found.items():
                room = self._limits.max_in_flight - len(self._open_jobs) - len(jobs)
                jobs += self._read(partition, records, room)
            if jobs:
                self._give(jobs)
        self._commit_if_due()

    def _pause(self) -> None:
        limits, status = self._limits, self.status
        fill = max(
            len(self._open_jobs) / limits.max_in_flight,
            status.in_flight_bytes / limits.max_in_flight_bytes,
        )
        full = {partition for partition, hold in self._holds.items() if hold.ledger.full()}
        self._pausing.settle(self._consumer, fill, full)

    def _give(self, jobs: list[Job]) -> None:
        self._open_jobs.update(jobs)
        self.status.handed_out += len(jobs)
        self.status.in_flight_bytes += sum(len(job.message.content) for job in jobs)
        self.status.in_flight = len(self._open_jobs)
        self._hand_out(jobs)
        self._failpoints.hit(f"{self._service}.handed_out")

    def _read(self, partition: TopicPartition, records: Sequence[Record], room: int) -> list[Job]:
        """The jobs of these records, at most `room`; the rest is read again later."""
        hold = self._hold(partition)
        jobs: list[Job] = []
        for record in records:
            try:
                messages = decode_pack(record.value, record.headers)
            except CodecError as error:
                self._refuse(hold, record, str(error))
                continue
            due_ms = self._due_at_ms(messages)
            wait_s = due_ms / 1000 - time.time() if due_ms else 0.0
            if wait_s > 0:
                self._pausing.sleep(self._consumer, partition, record.offset, wait_s)
                break
            is_alone = not jobs and room >= self._limits.max_in_flight
            if len(jobs) + len(messages) > room and not is_alone:
                # The limit is what a crash may send twice at most, so it is kept to the message.
                # Only a pack that is larger by itself goes beyond it, alone.
                self._pausing.wait_for_room(self._consumer, partition, record.offset)
                break
            for index in hold.ledger.add(record.offset, len(messages)):
                jobs.append(Job(hold, record.offset, index, messages[index]))
            if hold.ledger.full():
                self._consumer.seek(partition, record.offset + 1)
                break
        return jobs

    def _know(self, found: dict[TopicPartition, list[Record]]) -> None:
        """Have a ledger for each partition read; what was read must not get lost if not."""
        try:
            for partition in found:
                self._hold(partition)
        except KafkaError as error:
            for partition, records in found.items():
                self._consumer.seek(partition, records[0].offset)
            raise TransactionLost(f"committed offsets: {error}") from error

    def _hold(self, partition: TopicPartition) -> Hold:
        hold = self._holds.get(partition)
        if hold is None:
            found = self._consumer.committed(partition)
            offset, settled = 0, Settled()
            if found is not None and found.offset >= 0:
                offset = found.offset
                try:
                    settled = decode_metadata(found.metadata or "", offset)
                except MetadataError as error:
                    # Reading all again from the low-water mark may send twice, never lose.
                    log.error("%s: commit metadata of %s: %s", self._service, partition, error)
            hold = self._holds[partition] = Hold(partition, PartitionLedger(offset, settled))
        return hold

    def _refuse(self, hold: Hold, record: Record, reason: str) -> None:
        """A record that is no pack: written to mail.refused with its place and reason."""
        self.status.unreadable += 1
        log.error("%s: %s/%d@%d: %s", self._service, *hold.partition, record.offset, reason)
        for index in hold.ledger.add(record.offset, 1):
            job = Job(hold, record.offset, index, UNREADABLE)
            self._open_jobs.add(job)
            self.settle(job, self._unreadable(record, reason))

    # -- committing ------------------------------------------------------------------------

    def _commit_if_due(self) -> None:
        waiting = len(self._settled) + len(self._writing)
        if not waiting:
            return
        now = time.monotonic()
        old = now - self._last_commit >= self._limits.commit_interval_s
        if waiting >= self._limits.commit_messages or old:
            self._commit()
            self._last_commit = time.monotonic()

    def _commit(self) -> None:
        """Write everything settled so far. Raises TransactionLost; the outcomes are kept."""
        while self._settled and len(self._writing) < 2 * self._limits.commit_messages:
            job, outputs = self._settled.popleft()
            if job.hold.gone or not job.hold.ledger.settle(job.offset, job.index):
                self._forget(job)
                continue
            self._writing.append((job, outputs))
        if not self._writing:
            return
        self._failpoints.hit(f"{self._service}.settled")
        touched = {job.hold.partition: job.hold for job, _ in self._writing}
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(hold.ledger.low_water(), hold.ledger.metadata(), -1)
            for partition, hold in touched.items()
        }
        records = [output for _, outputs in self._writing for output in outputs]
        try:
            self._producer.commit(records, offsets, self._consumer.group_metadata())
        except TransactionLost:
            self.status.lost_transactions += 1
            if not self._went_through(offsets):
                raise
        for job, _ in self._writing:
            self._forget(job)
        self.status.settled += len(self._writing)
        self.status.transactions += 1
        self._writing.clear()

    def _went_through(self, tried: dict[TopicPartition, Any]) -> bool:
        """Whether a lost transaction committed after all, told by the committed metadata.

        Waits for Kafka as long as it takes, but in a drain no longer than that lasts: without
        the answer nothing may be written.
        """
        while self._give_up_at is None or time.monotonic() < self._give_up_at:
            try:
                self._producer.open()
                mine = [
                    (partition, wanted)
                    for partition, wanted in tried.items()
                    if partition in self._holds and partition in self._consumer.assignment()
                ]
                if not mine:
                    # Another member reads these now, from whatever is committed.
                    self._writing.clear()
                    return False
                partition, wanted = mine[0]
                found = self._consumer.committed(partition)
            except (TransactionLost, KafkaError) as error:
                self.status.waiting_for = f"Kafka: {error}"
                log.warning("%s: transaction in doubt: %s", self._service, error)
                time.sleep(RETRY_S)
                continue
            return found is not None and (found.offset, found.metadata or "") == (
                wanted.offset,
                wanted.metadata,
            )
        return False

    def _forget(self, job: Job) -> None:
        if job in self._open_jobs:
            self._open_jobs.discard(job)
            self.status.in_flight_bytes -= len(job.message.content)
            self.status.in_flight = len(self._open_jobs)

    # -- losing partitions -----------------------------------------------------------------

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Give up what has not begun, wait for what has, commit, let go."""
        self._drain([self._holds[p] for p in partitions if p in self._holds])
        self.lost(partitions)

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Drop the ledgers; what is still under way there will be sent again by another."""
        for partition in partitions:
            self._pausing.forget(partition)
            hold = self._holds.pop(partition, None)
            if hold is None:
                continue
            with hold.lock:
                hold.closing = hold.gone = True
            for job in [job for job in self._open_jobs if job.hold is hold]:
                self._forget(job)
        self._writing = [pair for pair in self._writing if not pair[0].hold.gone]

    def _drain(self, holds: list[Hold]) -> None:
        for hold in holds:
            with hold.lock:
                hold.closing = True
        mine = [job for job in self._open_jobs if job.hold in holds]
        waiting = {job for job in mine if job.begun}
        for job in mine:
            if not job.begun:
                self._forget(job)
        until = self._give_up_at = time.monotonic() + self._limits.drain_timeout_s
        while waiting & self._open_jobs and time.monotonic() < until:
            try:
                self._commit()
            except (TransactionLost, KafkaError) as error:
                log.warning("%s: draining: %s", self._service, error)
            time.sleep(0.02)
        left = len(waiting & self._open_jobs)
        if left:
            log.warning("%s: %d messages still under way after the drain", self._service, left)
        for hold in holds:
            hold.gone = True
        self._give_up_at = None
