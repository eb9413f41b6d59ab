"""Keeps a claim on revoked partitions until they are drained.

A cooperative rebalance has two rounds. In the first, a member learns which partitions it must
give up; it joins again without them, and the second round assigns them to their new owner. Between
the two rounds the member can finish its messages in flight. kafka-python 3.0.12 allows
that only inside the listener, on the thread that also sends the heartbeats: a drain of
some seconds there ends the membership.

ClaimingAssignor names the partitions in `claims` as owned in every further join, so the leader
gives them to nobody, however many rounds there are meanwhile. When a partition is drained,
release() drops the claim, and another round moves it (rejoin_for_claims). Only public parts of the
assignor are used, but for `request_rejoin` of the coordinator: KafkaConsumer has no
enforceRebalance().
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import TopicPartition


class ClaimingAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """The cooperative-sticky assignor of one consumer, with claims. Thread-safe."""

    member_assignment: Any

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._claims: set[TopicPartition] = set()
        # Those that the last join named.
        self._sent: frozenset[TopicPartition] = frozenset()

    @property
    def is_outdated(self) -> bool:
        """Whether the group knows other claims than there are now."""
        with self._lock:
            return self._claims != self._sent

    @property
    def claims(self) -> frozenset[TopicPartition]:
        """The partitions named as owned in addition to the assigned ones."""
        with self._lock:
            return frozenset(self._claims)

    def claim(self, partitions: Iterable[TopicPartition]) -> None:
        """Name these partitions as owned from the next join on."""
        with self._lock:
            self._claims.update(partitions)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop naming these partitions as owned, unless they are assigned."""
        with self._lock:
            self._claims.difference_update(partitions)

    def metadata(self, topics: Collection[str]) -> Any:
        """Build the subscription that is sent with JoinGroup."""
        assigned = self.member_assignment
        with self._lock:
            self._sent = sent = frozenset(self._claims)
        claimed = {partition for partition in sent if partition.topic in topics}
        self.member_assignment = sorted({*(assigned or ()), *claimed})
        try:
            return super().metadata(topics)
        finally:
            self.member_assignment = assigned


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
