"""The jobs in flight: how long the oldest one is there."""

from __future__ import annotations

from uuid import UUID

from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.stream.holdings import Holdings
from shared.stream.jobs import AssignedPartition, Job, WorkerStatus
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.ledger import PartitionLedger
from shared.topics.records import Message
from tests.support.stream_topics import envelope

SOURCE = TopicPartition("mail.outbound.default", 0)
TOPIC_ID = UUID(int=1)


class Member:
    """A member of a group with nothing committed."""

    def membership(self) -> ConsumerGroupMetadata | None:
        return None

    def has_lease(self) -> bool:
        return True

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        return None

    def assignment(self) -> set[TopicPartition]:
        return {SOURCE}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        pass

    def topic_id(self, _topic: str) -> UUID | None:
        return TOPIC_ID


def jobs(count: int) -> list[Job]:
    assigned = AssignedPartition(SOURCE, PartitionLedger(0), lambda: True)
    messages = [Message(envelope(f"mail-{number}"), b"x") for number in range(count)]
    return [Job(assigned, number, 0, message) for number, message in enumerate(messages)]


def test_the_age_is_that_of_the_oldest_job_that_is_left() -> None:
    status = WorkerStatus()
    holdings = Holdings(Member(), status, lambda: True, KeptOutcomes(10, 10))
    first, second = jobs(2)
    holdings.add([first])
    holdings.add([second])
    holdings.note_oldest()
    began_at = status.oldest_at
    assert began_at is not None
    assert status.oldest_in_flight_s > 0
    holdings.forget(first)
    holdings.note_oldest()
    assert status.oldest_at is not None
    assert status.oldest_at > began_at
    holdings.forget(second)
    holdings.note_oldest()
    assert status.oldest_in_flight_s == 0.0


def test_what_is_settled_out_of_order_does_not_hide_the_one_that_does_not_move() -> None:
    status = WorkerStatus()
    holdings = Holdings(Member(), status, lambda: True, KeptOutcomes(10, 10))
    stuck, *others = jobs(50)
    holdings.add([stuck])
    holdings.note_oldest()
    stuck_since = status.oldest_at
    for job in others:
        holdings.add([job])
        holdings.forget(job)
    holdings.note_oldest()
    assert status.oldest_at == stuck_since
