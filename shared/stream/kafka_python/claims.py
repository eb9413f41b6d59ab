"""Assigns the partitions of a group, and lets its members keep those that they drain.

A cooperative rebalance has two rounds. In the first, a member learns which partitions it must
give up; it joins again without them, and the second round assigns them to their new owner. Between
the two rounds the member can finish its messages in flight. kafka-python 3.0.12 allows
that only inside the listener, on the thread that also sends the heartbeats: a drain of
some seconds there ends the membership.

ClaimingAssignor names the partitions in `claims` as owned in every further join, so the leader
gives them to nobody, however many rounds there are meanwhile. When a partition is drained,
release() drops the claim, and another round moves it (rejoin_for_claims). After leave() a member
names only its claims and reads no topic, so it gets nothing more. Only public parts of the
assignor are used, but for `request_rejoin` of the coordinator: KafkaConsumer has no
enforceRebalance().
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.structs import TopicPartition

from shared.stream.kafka_python.spreading import Member, spread


class ClaimingAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """The cooperative-sticky assignor of one consumer, with claims and an even spread. Thread-safe.

    It keeps the name and the messages of the library's assignor: the two can meet in one group.
    """

    member_assignment: Any

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._claims: set[TopicPartition] = set()
        self._is_leaving = False
        # The claims that the last join named, and whether it said that this member leaves.
        self._sent: tuple[frozenset[TopicPartition], bool] = (frozenset(), False)

    @property
    def is_outdated(self) -> bool:
        """Whether the group knows other claims than there are now."""
        with self._lock:
            return self._sent != (frozenset(self._claims), self._is_leaving)

    @property
    def claims(self) -> frozenset[TopicPartition]:
        """The partitions named as owned in addition to the assigned ones."""
        with self._lock:
            return frozenset(self._claims)

    def claim(self, partitions: Iterable[TopicPartition]) -> None:
        """Name these partitions as owned from the next join on; ignored after leave()."""
        with self._lock:
            if not self._is_leaving:
                self._claims.update(partitions)

    def leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Name only these partitions from the next join on, and get no others."""
        with self._lock:
            self._is_leaving = True
            self._claims = set(partitions)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop naming these partitions as owned, unless they are assigned."""
        with self._lock:
            self._claims.difference_update(partitions)

    def metadata(self, topics: Collection[str]) -> Any:
        """Build the subscription that is sent with JoinGroup."""
        assigned = self.member_assignment
        with self._lock:
            is_leaving = self._is_leaving
            claims = frozenset(self._claims)
            self._sent = claims, is_leaving
        claimed = {partition for partition in claims if partition.topic in topics}
        self.member_assignment = sorted(claimed if is_leaving else {*(assigned or ()), *claimed})
        try:
            return super().metadata(() if is_leaving else topics)
        finally:
            self.member_assignment = assigned

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """Assign the partitions of the group: the leader's part of a round."""
        joined = []
        for member in members:
            told = self.parse_member_metadata(member.metadata)
            joined.append(Member(member.member_id, told.subscription, told.partitions))
        topics = {topic for member in joined for topic in member.topics}
        partitions = {topic: cluster.partitions_for_topic(topic) or () for topic in topics}
        return {
            name: ConsumerProtocolAssignment(self.version, _by_topic(given), b"")
            for name, given in spread(partitions, joined).items()
        }


def _by_topic(partitions: Iterable[TopicPartition]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        found.setdefault(topic, []).append(number)
    return list(found.items())


def rejoin_for_claims(consumer: Any, assignor: ClaimingAssignor) -> None:
    """Ask for another join if the group knows outdated claims. Call it before each poll.

    Not while a join is under way: its end would swallow the request, and what was released would
    belong to nobody.
    """
    if assignor.is_outdated and not consumer._coordinator.rejoining:
        request_rejoin(consumer)


def request_rejoin(consumer: Any) -> None:
    """Make the consumer join once more at its next poll."""
    consumer._coordinator.request_rejoin()


def without_position(consumer: Any) -> set[TopicPartition]:
    """Return the assigned partitions whose committed offset the broker has not returned yet.

    It returns none while a transaction that commits an offset of the partition is open.
    """
    return set(consumer._subscription.missing_fetch_positions())
