"""Outcomes and moves whose transactions are lost are written once, and none is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from uuid import UUID

import pytest
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.stream.jobs import AssignedPartition, Job
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.ledger import PartitionLedger, decode_metadata
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.transactions import Output, TransactionLost
from shared.topics.codec import decode_pack
from shared.topics.records import Message
from tests.support.stream_topics import envelope

SOURCE = TopicPartition("mail.outbound.default", 0)
SHELF = TopicPartition("mail.handover", 3)
TARGET = "mail.events"
# Where the log of the shelf ends, after what its earlier owners wrote.
SHELF_END = 40


class Loss(StrEnum):
    BEFORE = "before the commit"
    AFTER = "after the commit"


class Broker:
    """A log and committed offsets in memory; both sides of the writer. `losses` come first."""

    def __init__(self, losses: Iterable[Loss | None] = ()) -> None:
        self.losses = list(losses)
        self.written: list[Output] = []
        self.offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self.read_from: dict[TopicPartition, int] = {}
        self.end = SHELF_END

    def open(self) -> None:
        pass

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
        placed: list[int] | None = None,
    ) -> None:
        loss = self.losses.pop(0) if self.losses else None
        if placed is not None:
            placed += range(self.end, self.end + len(outputs))
        self.end += len(outputs) + 1  # and the marker of the transaction
        if loss is not Loss.BEFORE:
            self.written += outputs
            self.offsets.update(offsets or {})
        if loss is not None:
            raise TransactionLost(loss)

    def membership(self) -> ConsumerGroupMetadata | None:
        return ConsumerGroupMetadata("g", 1, "member", None)

    def has_lease(self) -> bool:
        return True

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        return self.offsets.get(partition)

    def assignment(self) -> set[TopicPartition]:
        return {SHELF}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.read_from[partition] = offset

    def topic_id(self, _topic: str) -> UUID | None:
        return None

    def texts(self, topic: str) -> list[bytes | None]:
        return [output.value for output in self.written if output.topic == topic]


def partition_of(where: TopicPartition, committed: int = 0) -> AssignedPartition:
    return AssignedPartition(where, PartitionLedger(committed), lambda: True)


def jobs_on(assigned: AssignedPartition, offsets: Iterable[int]) -> list[Job]:
    jobs = []
    for offset in offsets:
        assigned.ledger.add(offset, 1)
        jobs.append(Job(assigned, offset, 0, Message(envelope(f"mail-{offset}"), b"content")))
    return jobs


def writer_on(broker: Broker) -> OutcomeWriter:
    return OutcomeWriter("deliver", broker, Failpoints.none(), 100, kept=KeptOutcomes(10, 1_000))


def settle(writer: OutcomeWriter, jobs: Iterable[Job]) -> None:
    for job in jobs:
        writer.settle(job, [Output(TARGET, job.message.envelope.mail_id.encode())])


def write(writer: OutcomeWriter, broker: Broker) -> list[Job]:
    """Write until no transaction is lost any more; return the finished jobs."""
    finished: list[Job] = []
    while True:
        try:
            writer.write(broker)
        except TransactionLost:
            continue
        finally:
            finished += writer.take_finished()
        return finished


def settled_offsets(broker: Broker, partition: TopicPartition, among: Iterable[int]) -> set[int]:
    """Those of these offsets that the committed offset and metadata call settled."""
    found = broker.offsets[partition]
    whole = decode_metadata(found.metadata, found.offset).whole
    return {offset for offset in among if offset < found.offset or offset in whole}


with_losses = pytest.mark.parametrize(
    "losses",
    [[], [Loss.BEFORE], [Loss.AFTER], [Loss.BEFORE, Loss.AFTER], [Loss.BEFORE] * 3],
    ids=str,
)


@with_losses
def test_each_outcome_is_written_once_and_each_job_finished_once(losses: list[Loss]) -> None:
    broker = Broker(losses)
    writer, source = writer_on(broker), partition_of(SOURCE)
    jobs = jobs_on(source, range(5))
    settle(writer, jobs[:3])
    assert write(writer, broker) == jobs[:3]
    assert broker.texts(TARGET) == [b"mail-0", b"mail-1", b"mail-2"]
    assert settled_offsets(broker, SOURCE, range(5)) == {0, 1, 2}
    assert writer.waiting == 0


def test_a_job_whose_commit_was_found_is_finished_though_the_next_transaction_is_lost() -> None:
    broker = Broker([Loss.AFTER, Loss.BEFORE])
    writer, source = writer_on(broker), partition_of(SOURCE)
    jobs = jobs_on(source, range(2))
    settle(writer, jobs[:1])
    with pytest.raises(TransactionLost):
        writer.write(broker)
    settle(writer, jobs[1:])
    assert write(writer, broker) == jobs
    assert broker.texts(TARGET) == [b"mail-0", b"mail-1"]


@with_losses
def test_moved_messages_are_settled_on_their_partition_and_open_on_the_shelf(
    losses: list[Loss],
) -> None:
    broker = Broker([None, *losses])
    writer, source, shelf = writer_on(broker), partition_of(SOURCE), partition_of(SHELF, SHELF_END)
    jobs = jobs_on(source, range(4))
    settle(writer, jobs[:1])
    writer.move(jobs, shelf)
    finished = write(writer, broker)
    while writer.is_moving or jobs[1].assigned is source:
        writer.move(jobs[1:], shelf)  # the session asks again after a loss
        finished += write(writer, broker)
    assert finished == jobs[:1]
    assert settled_offsets(broker, SOURCE, range(4)) == {0, 1, 2, 3}
    assert len(broker.texts(SHELF.topic)) == 3
    assert {job.assigned for job in jobs[1:]} == {shelf}
    first, last = jobs[1].offset, jobs[-1].offset
    assert (last - first, broker.read_from[SHELF]) == (2, last + 1)
    assert shelf.ledger.low_water() == first

    settle(writer, jobs[1:])
    assert write(writer, broker) == jobs[1:]
    assert broker.offsets[SHELF].offset == last + 1
    assert sorted(map(str, broker.texts(TARGET))) == sorted(
        str(job.message.envelope.mail_id.encode()) for job in jobs
    )


def test_an_outcome_that_arrives_while_a_move_is_in_doubt_is_written_once() -> None:
    broker = Broker([Loss.AFTER])
    writer, source, shelf = writer_on(broker), partition_of(SOURCE), partition_of(SHELF, SHELF_END)
    jobs = jobs_on(source, range(2))
    writer.move(jobs, shelf)
    with pytest.raises(TransactionLost):
        writer.write(broker)
    settle(writer, jobs)
    assert write(writer, broker) == jobs
    assert broker.texts(TARGET) == [b"mail-0", b"mail-1"]
    assert broker.offsets[SHELF].offset == SHELF_END + 2


def test_a_move_to_a_shelf_that_belongs_to_another_member_is_dropped() -> None:
    broker = Broker([Loss.BEFORE])
    writer, source, shelf = writer_on(broker), partition_of(SOURCE), partition_of(SHELF)
    writer.move(jobs_on(source, range(2)), shelf)
    with pytest.raises(TransactionLost):
        writer.write(broker)
    source.gone = shelf.gone = True
    writer.drop()
    assert not writer.is_moving
    assert write(writer, broker) == []
    assert broker.written == []


@with_losses
def test_a_message_is_named_once_that_is_certain_and_its_successor_sees_it(
    losses: list[Loss],
) -> None:
    broker = Broker(losses)
    writer, source = writer_on(broker), partition_of(SOURCE)
    jobs = jobs_on(source, range(3))
    answers: list[tuple[str, bool, bool]] = []
    for job in jobs[:2]:

        def named(is_ours: bool, job: Job = job) -> None:
            is_there = SOURCE in broker.offsets
            answers.append((job.message.envelope.mail_id, is_ours, is_there))

        writer.name(job, named)
    write(writer, broker)
    assert answers == [("mail-0", True, True), ("mail-1", True, True)]
    assert writer.waiting == 0
    assert [job.named for job in jobs] == [True, True, False]
    found = broker.offsets[SOURCE]
    successor = PartitionLedger(found.offset, decode_metadata(found.metadata, found.offset))
    for offset in range(3):
        successor.add(offset, 1)
    assert [successor.is_offered(offset, 0) for offset in range(3)] == [True, True, False]


def test_a_message_is_not_named_while_kafka_takes_nothing() -> None:
    broker = Broker([Loss.BEFORE])
    writer, source = writer_on(broker), partition_of(SOURCE)
    (job,) = jobs_on(source, range(1))
    answers: list[bool] = []
    writer.name(job, answers.append)
    with pytest.raises(TransactionLost):
        writer.write(broker)
    assert (answers, job.named, writer.waiting) == ([], False, 1)


@pytest.mark.parametrize("is_begun_by_then", [False, True])
def test_a_name_on_a_partition_that_is_given_up_is_refused(is_begun_by_then: bool) -> None:
    broker = Broker()
    writer, source = writer_on(broker), partition_of(SOURCE)
    (job,) = jobs_on(source, range(1))
    answers: list[bool] = []
    if is_begun_by_then:
        job.begin()
    writer.name(job, answers.append)
    source.closing = True
    write(writer, broker)
    assert answers == [False]
    assert not job.named


def test_a_copy_on_the_shelf_says_that_it_was_offered() -> None:
    broker = Broker()
    writer, source, shelf = writer_on(broker), partition_of(SOURCE), partition_of(SHELF, SHELF_END)
    jobs = jobs_on(source, range(2))
    jobs[0].begin()
    writer.move(jobs[:1], shelf)
    write(writer, broker)
    (copy,) = [output for output in broker.written if output.topic == SHELF.topic]
    (message,) = decode_pack(copy.value, copy.headers)
    assert message.envelope.is_offered
    assert Job(shelf, SHELF_END, 0, message).in_doubt
    assert not jobs[0].in_doubt


@pytest.mark.parametrize("loss", Loss)
def test_a_name_that_is_taken_back_is_not_in_the_last_commit(loss: Loss) -> None:
    broker = Broker([loss])
    writer, source = writer_on(broker), partition_of(SOURCE)
    (job,) = jobs_on(source, range(1))
    answers: list[bool] = []
    writer.name(job, answers.append)
    with pytest.raises(TransactionLost):
        writer.write(broker)
    # The partition is given up before the result of the transaction is known (holdings.py).
    source.closing = True
    source.is_stale = source.ledger.take_back(job.offset, job.index)
    writer.renew(source)
    write(writer, broker)
    while writer.waiting:
        write(writer, broker)
    assert answers == [False]
    assert not source.is_stale
    found = broker.offsets[SOURCE]
    assert decode_metadata(found.metadata, found.offset).offered == {}
