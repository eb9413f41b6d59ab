"""The memory of attempts and outcomes of lost partitions, and its bounds."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.structs import TopicPartition
from msgspec.structs import replace

from shared.stream.jobs import UNREADABLE, AssignedPartition, Job
from shared.stream.kept_outcomes import KEPT_S, KeptOutcomes
from shared.stream.ledger import PartitionLedger
from shared.stream.transactions import Output
from shared.topics.records import Attempts, Message
from tests.support.stream_topics import envelope

PARTITION = TopicPartition("mail.outbound.default", 0)
OTHER = TopicPartition("mail.outbound.default", 1)
TOPIC, RECREATED = UUID(int=1), UUID(int=2)
OFFSET = 7
OUTCOME = [Output("mail.events", b"delivered", b"key")]
OUTCOME_BYTES = len(b"delivered") + len(b"key")
MANY = 1_000


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def assigned(
    partition: TopicPartition = PARTITION, topic_id: UUID | None = TOPIC
) -> AssignedPartition:
    return AssignedPartition(partition, PartitionLedger(0), lambda: True, topic_id)


def pack(*mail_ids: str) -> list[Message]:
    return [Message(envelope(mail_id), b"content") for mail_id in mail_ids]


def begun(at: AssignedPartition, offset: int, messages: Sequence[Message]) -> list[Job]:
    """The jobs of a record; all have begun."""
    at.ledger.add(offset, len(messages))
    jobs = [Job(at, offset, index, message) for index, message in enumerate(messages)]
    assert all(job.begin() for job in jobs)
    return jobs


def kept_of(jobs: Sequence[Job], most: int = MANY, most_bytes: int = MANY) -> KeptOutcomes:
    kept = KeptOutcomes(most, most_bytes, Clock())
    for job in jobs:
        kept.keep(job)
    return kept


PACK = pack("first", "second")
LATER = replace(PACK[0].envelope, attempts=Attempts(count=1))


@pytest.mark.parametrize(
    ("at", "offset", "messages", "indexes"),
    [
        (assigned(), OFFSET, PACK, {0, 1}),
        (assigned(topic_id=RECREATED), OFFSET, PACK, set()),
        (assigned(topic_id=None), OFFSET, PACK, set()),
        (assigned(OTHER), OFFSET, PACK, set()),
        (assigned(), OFFSET + 1, PACK, set()),
        (assigned(), OFFSET, pack("third", "second"), {1}),
        (assigned(), OFFSET, pack("second", "first"), set()),
        (assigned(), OFFSET, PACK[:1], {0}),
        (assigned(), OFFSET, [Message(LATER, b"content"), PACK[1]], {1}),
        (assigned(), OFFSET, [Message(replace(PACK[0].envelope, is_offered=True), b"")], {0}),
    ],
    ids=[
        "the same record",
        "a recreated topic",
        "a topic whose id is not known",
        "another partition",
        "another offset",
        "another message at the same place, after a truncation",
        "the same mail ids in another order",
        "a shorter pack",
        "a later attempt of the same message",
        "a copy on a shelf",
    ],
)
def test_an_attempt_belongs_to_its_own_record_only(
    at: AssignedPartition, offset: int, messages: Sequence[Message], indexes: set[int]
) -> None:
    jobs = begun(assigned(), OFFSET, PACK)
    kept = kept_of(jobs)
    taken = kept.take(at, offset, messages)
    assert {index: found.job for index, found in taken.items()} == {i: jobs[i] for i in indexes}
    assert kept.take(at, offset, messages) == {}


def test_an_outcome_is_kept_once_and_its_content_is_not_kept() -> None:
    first, second = begun(assigned(), OFFSET, PACK)
    kept = kept_of([first])
    assert kept.settle(first, OUTCOME)
    assert not kept.settle(first, OUTCOME)
    assert not kept.settle(second, OUTCOME)
    assert first.message == Message(PACK[0].envelope, b"")
    taken = kept.take(assigned(), OFFSET, PACK)
    assert [each.outputs for each in taken.values()] == [OUTCOME]
    assert not kept.settle(first, OUTCOME)
    assert len(kept) == 0


def test_an_outcome_belongs_to_its_own_attempt_only() -> None:
    (earlier,) = begun(assigned(), OFFSET, PACK[:1])
    (later,) = begun(assigned(), OFFSET, PACK[:1])
    kept = kept_of([earlier, later])
    assert len(kept) == 1
    assert not kept.settle(earlier, OUTCOME)
    assert kept.settle(later, OUTCOME)


def test_only_messages_that_were_begun_are_kept() -> None:
    at, unknown = assigned(), assigned(topic_id=None)
    at.ledger.add(OFFSET, 1)
    not_begun = Job(at, OFFSET, 0, PACK[0])
    unreadable = Job(at, OFFSET + 1, 0, UNREADABLE)
    unreadable.begun = True
    kept = kept_of([not_begun, unreadable, *begun(unknown, OFFSET, PACK)])
    assert len(kept) == 0
    assert not kept.settle(not_begun, OUTCOME)


@pytest.mark.parametrize(
    ("at", "offset", "left"),
    [
        (assigned(), OFFSET, 2),
        (assigned(), OFFSET + 1, 0),
        (assigned(topic_id=RECREATED), 0, 0),
        (assigned(OTHER), MANY, 2),
    ],
)
def test_what_cannot_be_read_again_is_forgotten(
    at: AssignedPartition, offset: int, left: int
) -> None:
    kept = kept_of(begun(assigned(), OFFSET, PACK))
    kept.begin(at, offset)
    assert len(kept) == left
    assert kept.dropped == 0


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    kept = KeptOutcomes(MANY, MANY, clock)
    at = assigned()
    for job in begun(at, OFFSET, PACK):
        kept.keep(job)
    clock.now = KEPT_S - 1
    (younger,) = begun(at, OFFSET + 1, pack("third"))
    kept.keep(younger)
    clock.now = KEPT_S
    assert kept.take(assigned(), OFFSET, PACK) == {}
    assert list(kept.take(assigned(), OFFSET + 1, pack("third"))) == [0]
    assert kept.dropped == 0


def test_the_oldest_are_dropped_if_there_are_too_many() -> None:
    at = assigned()
    jobs = [begun(at, OFFSET + number, pack(str(number)))[0] for number in range(5)]
    kept = kept_of(jobs, most=3)
    assert (len(kept), kept.dropped) == (3, 2)
    assert kept.take(at, OFFSET + 1, pack("1")) == {}
    assert list(kept.take(at, OFFSET + 2, pack("2"))) == [0]


def test_the_oldest_are_dropped_if_their_outcomes_take_too_many_bytes() -> None:
    at = assigned()
    jobs = [begun(at, OFFSET + number, pack(str(number)))[0] for number in range(3)]
    kept = kept_of(jobs, most_bytes=2 * OUTCOME_BYTES)
    assert all(kept.settle(job, OUTCOME) for job in jobs)
    assert (len(kept), kept.dropped) == (2, 1)
    assert kept.take(at, OFFSET, pack("0")) == {}
    assert list(kept.take(at, OFFSET + 1, pack("1"))) == [0]
    # The bytes of what was taken are free again.
    (more,) = begun(at, OFFSET + 9, pack("9"))
    kept.keep(more)
    assert kept.settle(more, OUTCOME)
    assert (len(kept), kept.dropped) == (2, 1)


STEPS = st.lists(st.tuples(st.sampled_from(["keep", "settle", "take", "begin"]), st.integers(0, 9)))


@given(STEPS, st.integers(1, 6), st.integers(0, 4))
def test_each_message_is_returned_at_most_once_and_none_more_than_the_bounds_is_kept(
    steps: list[tuple[str, int]], most: int, most_outcomes: int
) -> None:
    at = assigned()
    messages = [pack(f"{number}-0", f"{number}-1") for number in range(10)]
    jobs = [begun(at, number, messages[number]) for number in range(10)]
    kept = KeptOutcomes(most, most_outcomes * OUTCOME_BYTES, Clock())
    present: dict[Job, bool] = {}  # whether the outcome of each job is kept
    for step, number in steps:
        before = kept.dropped
        if step == "keep":
            for job in jobs[number]:
                kept.keep(job)
                present[job] = False
        elif step == "settle":
            for job in jobs[number]:
                if kept.settle(job, OUTCOME):
                    assert not present[job]
                    present[job] = True
        elif step == "take":
            for found in kept.take(at, number, messages[number]).values():
                assert present.pop(found.job) == (found.outputs is not None)
        else:
            kept.begin(at, number)
            present = {job: known for job, known in present.items() if job.offset >= number}
        assert len(kept) <= most
        assert kept.dropped >= before
