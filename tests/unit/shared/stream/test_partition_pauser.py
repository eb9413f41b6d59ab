"""Partitions are read or paused depending on the messages in flight and on what is due."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.structs import TopicPartition

from shared.stream.partition_pauser import MOST_BYTES, PartitionPauser

LANE, OTHER, SHELF = (TopicPartition(topic, 0) for topic in ("lane", "other", "shelf"))


class Consumer:
    """Knows which partitions are paused."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()
        self.seeks: list[tuple[TopicPartition, int]] = []

    def assignment(self) -> set[TopicPartition]:
        return {LANE, OTHER, SHELF}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.seeks.append((partition, offset))

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.paused.difference_update(partitions)


@pytest.mark.parametrize(
    ("fill", "full", "first", "paused"),
    [
        pytest.param(0.9, set(), set(), set(), id="there is room"),
        pytest.param(1.0, set(), set(), {LANE, OTHER, SHELF}, id="no room"),
        pytest.param(0.0, {LANE}, set(), {LANE}, id="a full ledger"),
        pytest.param(1.0, set(), {SHELF}, {LANE, OTHER}, id="no room but a shelf to read"),
        pytest.param(1.0, {SHELF}, {SHELF}, {LANE, OTHER, SHELF}, id="no room, a full shelf"),
    ],
)
def test_what_is_paused(
    fill: float, full: set[Any], first: set[Any], paused: set[TopicPartition]
) -> None:
    consumer: Any = Consumer()
    PartitionPauser().settle(consumer, fill, full, lambda: first)
    assert consumer.paused == paused


def records(first: int, count: int = 3, size: int = 10) -> list[Any]:
    return [SimpleNamespace(offset=first + each, value=b"x" * size) for each in range(count)]


def test_a_shelf_whose_next_record_does_not_fit_is_fetched_again_when_there_is_room() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser("shelf")
    pauser.settle(consumer, 1.0, set(), lambda: {SHELF})
    pauser.wait_for_room(consumer, SHELF, records(7))
    for fill in (1.0, 0.9):
        pauser.settle(consumer, fill, set(), lambda: {SHELF})
        assert consumer.paused == {LANE, OTHER, SHELF}
    pauser.settle(consumer, 0.5, set(), lambda: {SHELF})
    assert consumer.paused == set()
    assert consumer.seeks == [(SHELF, 7)]
    assert not pauser.has_ready


def test_a_partition_sleeps_until_its_record_is_due_and_goes_on_with_what_was_polled() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser()
    kept = records(7)
    pauser.sleep(consumer, LANE, kept, 0)
    pauser.sleep(consumer, OTHER, records(3), 60)
    pauser.settle(consumer, 0.0, set(), set)
    assert consumer.paused == {LANE, OTHER}, "what is kept comes first"
    assert pauser.has_ready
    assert pauser.take_ready() == {LANE: kept}
    assert not pauser.has_ready
    pauser.settle(consumer, 0.0, set(), set)
    assert consumer.paused == {OTHER}
    assert consumer.seeks == [], "nothing is fetched again"


def test_what_is_kept_waits_for_room_and_for_a_full_ledger() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser()
    kept = records(7)
    pauser.wait_for_room(consumer, LANE, kept)
    for fill, full in ((1.0, set()), (0.9, set()), (0.5, {LANE})):
        pauser.settle(consumer, fill, full, set)
        assert pauser.take_ready() == {}
    pauser.settle(consumer, 0.5, set(), set)
    assert pauser.take_ready() == {LANE: kept}


def test_a_partition_that_another_member_reads_is_forgotten_with_what_is_kept() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser()
    pauser.sleep(consumer, LANE, records(7), 0)
    pauser.forget(LANE)
    pauser.settle(consumer, 0.0, set(), set)
    assert consumer.paused == set()
    assert pauser.take_ready() == {}


def test_what_exceeds_the_room_of_kept_records_is_fetched_again() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser()
    large = records(7, 2, MOST_BYTES // 4)
    for partition in (LANE, OTHER, SHELF):
        pauser.sleep(consumer, partition, large, 0)
    assert consumer.seeks == [(SHELF, 7)]
    pauser.settle(consumer, 0.0, set(), set)
    assert pauser.take_ready() == {LANE: large, OTHER: large}
    pauser.sleep(consumer, SHELF, large, 0)
    assert consumer.seeks == [(SHELF, 7)], "there is room again"
