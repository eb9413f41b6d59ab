"""Adds replicas to partitions that have fewer than the settings say (KIP-455).

Owns: the requests. The brokers copy the data in the background; until they have, a partition has
its old replicas. It takes the operation Alter on the cluster.
"""

from __future__ import annotations

from typing import Any

from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.topics.configs import Assignments, lacking_brokers, more_replicas


class Growth(Struct, frozen=True):
    """The replicas to add, by topic and partition, or why none can be added."""

    assignments: Assignments
    lacking: int  # brokers


def plan_growth(admin: Any, topics: list[str], wanted: int) -> Growth:
    """Plan more replicas for these topics. Raises KafkaError."""
    if not topics:
        return Growth({}, 0)
    cluster = admin.describe_cluster()
    brokers = {
        one["broker_id"]: one.get("rack") or ""
        for one in cluster["brokers"]
        if not one.get("is_fenced")
    }
    found = {
        (topic["name"], part["partition_index"]): part["replica_nodes"]
        for topic in admin.describe_topics(topics)
        for part in topic["partitions"]
    }
    return Growth(more_replicas(found, brokers, wanted), lacking_brokers(brokers, wanted))


def grow(admin: Any, assignments: Assignments) -> None:
    """Begin to add these replicas. Raises KafkaError if the brokers refuse."""
    if not assignments:
        return
    wanted = {TopicPartition(*place): nodes for place, nodes in assignments.items()}
    for place, error in admin.alter_partition_reassignments(wanted).items():
        if error is not None:
            raise KafkaError(f"{place.topic}/{place.partition}: {error.__name__}")
