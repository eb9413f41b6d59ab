"""Whether topics can be read and written now, according to their metadata."""

from __future__ import annotations

from typing import Any

import pytest

from shared.stream.reachability import fault_of


def topic(
    name: str, leader: int = 1, replicas: int = 3, in_sync: int = 3, code: int = 0
) -> dict[str, Any]:
    part = {
        "partition_index": 0,
        "leader_id": leader,
        "replica_nodes": list(range(replicas)),
        "isr_nodes": list(range(in_sync)),
    }
    return {"name": name, "error_code": code, "partitions": [] if code else [part]}


CASES = [
    ([topic("r"), topic("w")], ""),
    ([topic("w", in_sync=2)], ""),
    ([topic("w", replicas=1, in_sync=1)], ""),
    ([topic("w", in_sync=1)], "w/0 has 1 of 2 replicas in sync"),
    ([topic("r", in_sync=1)], ""),
    ([topic("r", leader=-1)], "r/0 has no leader"),
    ([topic("w", leader=-1, in_sync=0)], "w/0 has no leader"),
    ([topic("r", code=3)], "r: UnknownTopicOrPartitionError"),
    ([topic("w", code=29)], "w: TopicAuthorizationFailedError"),
]


@pytest.mark.parametrize(("described", "fault"), CASES)
def test_each_partition_needs_a_leader_and_where_written_replicas_in_sync(
    described: list[dict[str, Any]], fault: str
) -> None:
    assert fault_of(described, ["w"]) == fault


def test_many_faults_are_counted() -> None:
    described = [topic(f"r{number}", leader=-1) for number in range(5)]
    found = fault_of(described, [])
    assert found == "r0/0 has no leader; r1/0 has no leader; r2/0 has no leader; and 2 more"
