"""Assigns the partitions of a group, and lets members keep partitions while they drain them.

A cooperative rebalance has two rounds. The first round informs a member about the partitions that
it must give up. The member joins again without them, and the second round assigns them to their new
owner. Between the two rounds the member can finish its messages in flight. kafka-python 3.0.12
allows this only inside the listener, on the thread that also sends the heartbeats. So a drain of
some seconds in the listener ends the membership.

In every later join, ClaimingAssignor lists the partitions in `claims` as owned. So the leader
assigns these partitions to no other member, even during several rounds. When a partition is
drained, release() drops the claim, and another round moves the partition (rejoin_for_claims). After
leave(), a member lists only its claims, and its user data ask the leader to assign no more
partitions to it. The member still subscribes to its topics, because the broker deletes the
committed offsets of a topic after a time if no member subscribes to the topic. The module uses
public parts of the assignor and one private method, the coordinator's `request_rejoin`, because
KafkaConsumer has no enforceRebalance().
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.structs import TopicPartition

from shared.stream.kafka_python.spreading import Member, spread


class _Phase(StrEnum):
    """The phase of a member. The member sends the phase as user data."""

    JOINING = ""
    MEMBER = "member"
    LEAVING = "leaving"


class ClaimingAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """The cooperative-sticky assignor of one consumer, with claims and an even spread. Thread-safe.

    ClaimingAssignor has the name and the messages of the library's assignor, so that one group can
    contain members with either assignor.
    """

    member_assignment: Any

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._claims: set[TopicPartition] = set()
        self._phase = _Phase.JOINING
        # The claims and the phase that the last join contained.
        self._sent: tuple[frozenset[TopicPartition], _Phase] = (frozenset(), self._phase)

    @property
    def is_outdated(self) -> bool:
        """Return True if the claims or the phase have changed since the last join."""
        with self._lock:
            return self._sent != (frozenset(self._claims), self._phase)

    @property
    def claims(self) -> frozenset[TopicPartition]:
        """Return the partitions that are listed as owned in addition to the assigned partitions."""
        with self._lock:
            return frozenset(self._claims)

    def has_joined(self) -> None:
        """Request a second join with different metadata. The reason is in consumer.py."""
        with self._lock:
            if self._phase is _Phase.JOINING:
                self._phase = _Phase.MEMBER

    def claim(self, partitions: Iterable[TopicPartition]) -> None:
        """List these partitions as owned from the next join on. Has no effect after leave()."""
        with self._lock:
            if self._phase is not _Phase.LEAVING:
                self._claims.update(partitions)

    def leave(self, partitions: Iterable[TopicPartition]) -> None:
        """From the next join on, list only these partitions as owned, and request no others."""
        with self._lock:
            self._phase = _Phase.LEAVING
            self._claims = set(partitions)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Do not list these partitions as owned any more, unless they are assigned."""
        with self._lock:
            self._claims.difference_update(partitions)

    def metadata(self, topics: Collection[str]) -> Any:
        """Build the subscription that is sent with JoinGroup."""
        assigned = self.member_assignment
        with self._lock:
            phase = self._phase
            claims = frozenset(self._claims)
            self._sent = claims, phase
        own = claims if phase is _Phase.LEAVING else {*(assigned or ()), *claims}
        self.member_assignment = sorted(own)
        try:
            subscription = super().metadata(topics)
        finally:
            self.member_assignment = assigned
        subscription.user_data = phase.encode()
        return subscription

    def assign(self, cluster: Any, members: Iterable[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """Assign the partitions of the group. The leader calls this in each round."""
        joined = []
        for member in members:
            named = self.parse_member_metadata(member.metadata)
            is_leaving = member.metadata.user_data == _Phase.LEAVING.encode()
            topics = () if is_leaving else named.subscription
            joined.append(Member(member.member_id, topics, named.partitions))
        read = {topic for member in joined for topic in member.topics}
        partitions = {topic: cluster.partitions_for_topic(topic) or () for topic in read}
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
    """Request another join if the group knows outdated claims. Call this before each poll.

    During a join this function does nothing, because the end of the join would discard the request.
    Then the released partitions would belong to no member.
    """
    if assignor.is_outdated and not consumer._coordinator.rejoining:
        request_rejoin(consumer)


def request_rejoin(consumer: Any) -> None:
    """Make the consumer join once more at its next poll."""
    consumer._coordinator.request_rejoin()
