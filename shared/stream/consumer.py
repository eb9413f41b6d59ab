"""Polls as a member of a consumer group, rewinds to committed offsets, and reports revocations.

This module owns the KafkaConsumer. Except has_lease(), all methods must be called in one thread.
The consumer does not commit offsets, because the producer's transaction contains the offsets
(transactions.py).

Guarantees:

- poll() returns a record a second time only after seek() or rewind(), or after the partition was
  revoked and assigned again. The client library does not guarantee this (seen_records.py).
  - poll() returns nothing while it is uncertain whether this process is still a member of the
    group, for example after a pause of the process. poll() raises MembershipLost in every case in
    which the process is no longer a member (kafka_python/membership.py). It raises TopicRecreated
    when a topic was recreated (recreated_topics.py). After either error, the consumer must be
    closed.
- A revoked partition is assigned to no other member until release() is called, so that messages in
  flight can be finished (kafka_python/claims.py). take_revoked() lists these partitions.

The only callback on the client's I/O thread just stores the changed partitions, so it never delays
heartbeats.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from kafka.errors import FencedInstanceIdError, KafkaError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata, TopicPartition

from shared.runtime.clock import monotonic
from shared.stream.client import SESSION_TIMEOUT_MS, ClientOptions, make_consumer
from shared.stream.kafka_python.claims import ClaimingAssignor
from shared.stream.kafka_python.fetching_by_id import fetch_by_id, known_id
from shared.stream.kafka_python.membership import Membership
from shared.stream.kafka_python.polling import poll, subscribe
from shared.stream.kafka_python.positions import (
    UnconfirmedPositions,
    has_read_all,
    without_position,
)
from shared.stream.rebalance_listener import RebalanceListener, names_of
from shared.stream.recreated_topics import require_same_for_commit, require_same_topics
from shared.stream.seen_records import SeenRecords

log = logging.getLogger(__name__)

COMMITTED_TIMEOUT_MS: Final = 10_000
CLOSE_TIMEOUT_MS: Final = 3_000
# If committed offsets are not known after this time, an open transaction blocks them.
POSITION_LATE_S: Final = 3.0
# If no broker confirms a position within this time, the same position is set again.
UNCONFIRMED_S: Final = 30.0
# A rebalance waits for the slowest member, so it may exceed the session time-out by this time.
ABSENT_S: Final = 30.0


class MembershipLost(Exception):
    """This process lost its group membership and its assigned partitions."""


class Record(Protocol):
    """The fields of kafka-python's ConsumerRecord that Sluice uses."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int  # 0: time of the producer's clock; 1: time of the broker's clock
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class StreamConsumer:
    """One member of a consumer group over a list of topics or a pattern."""

    def __init__(
        self,
        options: ClientOptions,
        group: str,
        topics: Sequence[str] = (),
        pattern: str = "",
        *,
        keeps_claims: bool = False,
    ) -> None:
        """With `keeps_claims`, revoked partitions stay with this member until release().

        Raises kafka.errors.KafkaError when no broker answers.
        """
        assignor = ClaimingAssignor()
        self._assignor = assignor
        own = {"partition_assignment_strategy": [assignor]}
        self._consumer: Any = make_consumer(options, group, **own)
        fetch_by_id(self._consumer)
        self._membership = Membership(self._consumer, SESSION_TIMEOUT_MS / 1000)
        self._listener = listener = RebalanceListener(assignor, keeps_claims)
        self._seen = SeenRecords(self._consumer, listener)
        self._unconfirmed = UnconfirmedPositions(self._consumer, UNCONFIRMED_S)
        # The time at which this consumer first found a partition without its committed offset.
        self._late_since: float | None = None
        subscribe(self._consumer, listener, topics=list(topics), pattern=pattern or None)
        # See _join_again().
        self._has_old_assignment = options.static

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        """Return records by partition, in order. Return {} if the broker reports a retriable error.

        Raises MembershipLost. Raises FencedInstanceIdError when another process uses this instance
        name, and other KafkaErrors that cannot be retried.
        """
        if self._has_old_assignment:
            self._join_again()
        for partition, offset in self._unconfirmed.overdue().items():
            log.warning(
                "no broker confirms offset %d of %s/%d; reading on from it", offset, *partition
            )
            self._consumer.seek(partition, offset)
        losses = self._listener.losses.copy()
        self._seen.note_positions(losses)
        try:
            found: dict[TopicPartition, list[Record]] = poll(
                self._consumer, timeout_ms, assignor=self._assignor, max_records=max_records
            )
        except KafkaError as error:
            if not getattr(error, "retriable", False):
                raise
            log.warning("polling failed: %s", error)
            time.sleep(timeout_ms / 1000)
            return {}
        self._require_membership()
        require_same_topics(self._consumer)
        if found and not self._membership.has_lease():
            # Some partitions may already belong to another member. The next heartbeat detects the
            # change.
            for partition, records in found.items():
                self._consumer.seek(partition, records[0].offset)
            time.sleep(timeout_ms / 1000)
            return {}
        return self._seen.unseen(found, losses)

    def _require_membership(self) -> None:
        if self._membership.is_fenced:
            raise FencedInstanceIdError("another process uses this instance name")
        if self._membership.lost:
            raise MembershipLost(self._membership.lost)

    def _join_again(self) -> None:
        """Join the group once more after the first join of a static member.

        The broker gives a restarted static member its old assignment without a rebalance. The old
        assignment is wrong if topics were created or the member handed partitions over after that
        assignment. The broker also does not report that the member is the leader of the group, and
        a leader that does not know its role never assigns partitions again. A second join with
        different metadata causes a rebalance, which gives the member its new assignment and its
        role.
        """
        if self._consumer.group_metadata().state == MemberState.STABLE:
            self._has_old_assignment = False
            self._assignor.has_joined()

    def idle(self, seconds: float) -> None:
        """Stay a member of the group for this time without reading anything."""
        assigned = self.assignment()
        self._consumer.pause(*assigned)
        try:
            until = monotonic() + seconds
            while (left := until - monotonic()) > 0:
                found = poll(self._consumer, int(min(left, 0.5) * 1000), assignor=self._assignor)
                for partition, records in found.items():
                    # The partition was assigned during this poll, so it was not paused. Seek back,
                    # because a later poll must return its records.
                    self._consumer.seek(partition, records[0].offset)
                    self._consumer.pause(partition)
                    assigned.add(partition)
        finally:
            self._consumer.resume(*(assigned & self.assignment()))

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that are assigned to this member."""
        return set(self._consumer.assignment())

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Return the group's committed offset and metadata. Raises KafkaError."""
        return self._consumer.committed(partition, metadata=True, timeout_ms=COMMITTED_TIMEOUT_MS)

    def rewind(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Seek these (or all) assigned partitions to their committed offsets. Raises KafkaError."""
        assigned = self.assignment()
        for partition in assigned if partitions is None else assigned & set(partitions):
            found = self.committed(partition)
            if found is None or found.offset < 0:
                # seek_to_beginning() would only mark the partition for a later reset.
                asked = self._consumer.beginning_offsets(
                    [partition], timeout_ms=COMMITTED_TIMEOUT_MS
                )
                self.seek(partition, asked[partition])
            else:
                self.seek(partition, found.offset)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read this partition from `offset` on."""
        self._seen.seek(partition, offset)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these partitions. Ignore partitions that are no longer assigned."""
        self._consumer.pause(*(set(partitions) & self.assignment() - self._consumer.paused()))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Continue reading these partitions. Ignore partitions that are no longer assigned."""
        self._consumer.resume(*(set(partitions) & self._consumer.paused()))

    def take_revoked(self) -> list[TopicPartition]:
        """Return the partitions revoked since the last call. Their claims last until release()."""
        return self._listener.take_revoked()

    def leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Give up all partitions at the next poll, but claim `partitions` until release()."""
        self._assignor.leave(partitions)

    def has_read_all(self, partition: TopicPartition) -> bool:
        """Return True if all records of this assigned partition have been read."""
        return has_read_all(self._consumer, partition)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Release these revoked partitions to other members. The next poll causes a new join."""
        gone = list(partitions)
        if gone:
            self._assignor.release(gone)

    def has_lease(self) -> bool:
        """Return True if this process is certainly a group member now. Any thread may call this."""
        return self._membership.has_lease()

    def membership(self) -> ConsumerGroupMetadata | None:
        """Return this member's generation, by which the broker fences stale members (KIP-447).

        Call this when records are read, not when their offsets are committed. The generation is
        None before the first join of the group. During a rebalance, the old generation is returned.
        The broker accepts the old generation until all members have joined, which may take a
        minute. Raises MembershipLost, and FencedInstanceIdError when another process uses this
        instance name.
        """
        found = self._consumer.group_metadata()
        self._require_membership()
        # The broker accepts a commit without a member (-1, "") from any process.
        return found if found.generation_id >= 0 and found.member_id else None

    def topic_id(self, topic: str) -> UUID | None:
        """Return the id of the topic that is read under this name, or None if it is not known."""
        return known_id(self._consumer, topic)

    def require_same_topics(self) -> None:
        """Raise TopicRecreated if the offsets of the records read so far must not be committed."""
        require_same_for_commit(self._consumer)

    def waiting_for(self) -> str:
        """Return the reason why assigned partitions are not read. Return "" if all are read."""
        if (absent_s := self._membership.unconfirmed_s()) > ABSENT_S:
            return f"its place in the consumer group, not confirmed for {absent_s:.0f} s"
        late = without_position(self._consumer) & self.assignment()
        if not late:
            self._late_since = None
            return ""
        now = monotonic()
        if self._late_since is None:
            self._late_since = now
        if now - self._late_since < POSITION_LATE_S:
            return ""
        return f"committed offsets of {names_of(sorted(late))} (an open transaction holds them)"

    def close(self) -> None:
        """Leave the group. A static member stays registered for a process of the same name."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        except (KafkaError, RuntimeError) as error:
            log.warning("the consumer could not be closed: %s", error)
