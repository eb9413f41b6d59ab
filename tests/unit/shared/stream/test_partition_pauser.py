"""Partitions are read or paused depending on the messages in flight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from kafka.structs import TopicPartition

from shared.stream.partition_pauser import PartitionPauser

LANE, OTHER, SHELF = (TopicPartition(topic, 0) for topic in ("lane", "other", "shelf"))


class Consumer:
    """Knows which partitions are paused."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return {LANE, OTHER, SHELF}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        pass

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


def test_a_shelf_whose_next_record_does_not_fit_is_read_when_there_is_room() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser()
    pauser.settle(consumer, 1.0, set(), lambda: {SHELF})
    pauser.wait_for_room(consumer, SHELF, 7)
    for fill in (1.0, 0.9):
        pauser.settle(consumer, fill, set(), lambda: {SHELF})
        assert consumer.paused == {LANE, OTHER, SHELF}
    pauser.settle(consumer, 0.5, set(), lambda: {SHELF})
    assert consumer.paused == set()


def test_a_partition_sleeps_until_its_record_is_due() -> None:
    consumer: Any = Consumer()
    pauser = PartitionPauser()
    pauser.sleep(consumer, LANE, 7, 60)
    pauser.settle(consumer, 0.0, set(), set)
    assert consumer.paused == {LANE}
    pauser.sleep(consumer, LANE, 7, 0)
    pauser.settle(consumer, 0.0, set(), set)
    assert consumer.paused == set()
