"""Stores which partitions a rebalance revokes from a member.

The client calls the listener on its I/O thread, which also sends the heartbeats. So the listener
only stores the partitions and returns at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence

from kafka import ConsumerRebalanceListener
from kafka.structs import TopicPartition

from shared.stream.kafka_python.claims import ClaimingAssignor

log = logging.getLogger(__name__)


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """The revoked partitions of one member, and the number of losses of each partition."""

    def __init__(self, assignor: ClaimingAssignor, keeps_claims: bool) -> None:
        self._assignor = assignor
        self._keeps_claims = keeps_claims
        self._lock = threading.Lock()
        self._revoked: list[TopicPartition] = []
        # The number of times that each partition was revoked or lost.
        self.losses: dict[TopicPartition, int] = {}

    def take_revoked(self) -> list[TopicPartition]:
        """Return the partitions revoked since the last call."""
        with self._lock:
            revoked, self._revoked = self._revoked, []
        return revoked

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        partitions = sorted(revoked)
        if not partitions:
            return
        log.info("partitions revoked: %s", names_of(partitions))
        if self._keeps_claims:
            # Claim the partitions before the next join is sent. Without a claim, another member may
            # get the partitions.
            self._assignor.claim(partitions)
            with self._lock:
                self._revoked += partitions
        self._count(partitions)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = sorted(assigned)
        if partitions:
            log.info("partitions assigned: %s", names_of(partitions))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        partitions = sorted(lost)
        if partitions:
            log.warning("partitions lost: %s", names_of(partitions))
            self._count(partitions)

    def _count(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self.losses[partition] = self.losses.get(partition, 0) + 1


def names_of(partitions: Sequence[TopicPartition]) -> str:
    """Return these partitions as text."""
    return " ".join(f"{topic}/{partition}" for topic, partition in partitions)
