"""Positions that no broker confirms, in the library's own record of them."""

from __future__ import annotations

from kafka.consumer.subscription_state import SubscriptionState
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.stream.kafka_python.positions import UnconfirmedPositions

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """The parts of a KafkaConsumer that know its positions."""

    def __init__(self) -> None:
        self._subscription = SubscriptionState()
        self._subscription.assign_from_user([FIRST, SECOND])
        for partition, offset in ((FIRST, 7), (SECOND, 9)):
            self._subscription.seek(partition, OffsetAndMetadata(offset, "", 3))

    def assignment(self) -> set[TopicPartition]:
        return self._subscription.assigned_partitions()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._subscription.seek(partition, offset)

    def change_leader(self, partition: TopicPartition) -> None:
        """A new leader, which has to confirm the position."""
        self._subscription.request_position_validation(partition)

    def confirm(self, partition: TopicPartition) -> None:
        self._subscription.complete_validation(partition)

    def is_read(self, partition: TopicPartition) -> bool:
        return self._subscription.is_fetchable(partition)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_position_that_no_broker_confirms_is_set_again_after_a_while() -> None:
    consumer, clock = Consumer(), Clock()
    positions = UnconfirmedPositions(consumer, 30.0, clock)
    consumer.change_leader(FIRST)
    assert not consumer.is_read(FIRST)
    for clock.now in (100.0, 115.0, 129.0):
        assert positions.overdue() == {}
    clock.now = 130.5
    assert positions.overdue() == {FIRST: 7}
    consumer.seek(FIRST, 7)
    assert consumer.is_read(FIRST)
    clock.now = 200.0
    assert positions.overdue() == {}


def test_a_position_that_is_confirmed_in_time_stays_as_it_is() -> None:
    consumer, clock = Consumer(), Clock()
    positions = UnconfirmedPositions(consumer, 30.0, clock)
    for now in (100.0, 120.0):
        clock.now = now
        consumer.change_leader(FIRST)
        assert positions.overdue() == {}
        consumer.confirm(FIRST)
        clock.now = now + 2.0
        assert positions.overdue() == {}
    consumer.change_leader(SECOND)
    clock.now = 140.0
    assert positions.overdue() == {}


def test_the_partitions_are_looked_at_once_per_second() -> None:
    consumer, clock = Consumer(), Clock()
    positions = UnconfirmedPositions(consumer, 0.0, clock)
    assert positions.overdue() == {}
    consumer.change_leader(FIRST)
    clock.now = 100.5
    assert positions.overdue() == {}
    clock.now = 101.5
    assert positions.overdue() == {FIRST: 7}
