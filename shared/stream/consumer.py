"""A consumer-group member: polls, rewinds to what is committed, tells of rebalances.

Owns the KafkaConsumer and the thread rule: all calls come from one thread. Does not commit:
offsets go into the producer's transaction (transactions.py).

Promises: what poll() has given of a partition it gives again only after seek() or rewind(), or
after the partition was taken away and given back. The client library does not promise that:
see _unseen().
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from kafka import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import (
    ConsumerGroupMetadata,
    MemberState,
    OffsetAndMetadata,
    TopicPartition,
)

from shared.stream.client import ClientOptions, before_poll, load_metadata, make_consumer

log = logging.getLogger(__name__)

COMMITTED_TIMEOUT_MS: Final = 10_000
CLOSE_TIMEOUT_MS: Final = 3_000


class Record(Protocol):
    """What is used of kafka-python's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int  # 0 CreateTime: the producer's clock; 1 LogAppendTime: the broker's
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Subscription(Protocol):
    """Hears of partitions taken away: `revoked` may still commit, `lost` may not."""

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """The group asks for these back; settle and commit, then return."""

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """These are gone already; another member may be reading them."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, heard: Subscription, forget: Callable[[Sequence[TopicPartition]], None]):
        self._heard = heard
        self._forget = forget

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        partitions = sorted(revoked)
        if partitions:
            log.info("partitions revoked: %s", _names(partitions))
            self._heard.revoked(partitions)
            self._forget(partitions)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = sorted(assigned)
        if partitions:
            log.info("partitions assigned: %s", _names(partitions))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        partitions = sorted(lost)
        if partitions:
            log.warning("partitions lost: %s", _names(partitions))
            self._heard.lost(partitions)
            self._forget(partitions)


def _names(partitions: Sequence[TopicPartition]) -> str:
    return " ".join(f"{topic}/{partition}" for topic, partition in partitions)


class StreamConsumer:
    """One member of a consumer group over a list of topics or a pattern."""

    def __init__(
        self,
        options: ClientOptions,
        group: str,
        heard: Subscription,
        topics: Sequence[str] = (),
        pattern: str = "",
    ) -> None:
        """Raises kafka.errors.KafkaError when no broker answers."""
        self._consumer: Any = make_consumer(options, group)
        # By partition, the offset after the last record given.
        self._given: dict[TopicPartition, int] = {}
        # How often each was taken away; counted by the I/O thread.
        self._losses: dict[TopicPartition, int] = {}
        listener = _Listener(heard, self._forget)
        if pattern:
            self._consumer.subscribe(pattern=pattern, listener=listener)
        else:
            self._consumer.subscribe(topics=list(topics), listener=listener)
        load_metadata(self._consumer)
        # See _lead().
        self._may_lead_unknowing = options.static

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        """Records by partition, in order. Transient broker trouble is an empty answer."""
        before_poll(self._consumer)
        if self._may_lead_unknowing:
            self._lead()
        losses = self._losses.copy()
        try:
            found: dict[TopicPartition, list[Record]] = self._consumer.poll(
                timeout_ms=timeout_ms, max_records=max_records
            )
        except KafkaError as error:
            if not getattr(error, "retriable", False):
                raise
            log.warning("poll: %s", error)
            time.sleep(timeout_ms / 1000)
            return {}
        return self._unseen(found, losses)

    def _unseen(
        self, found: dict[TopicPartition, list[Record]], losses: dict[TopicPartition, int]
    ) -> dict[TopicPartition, list[Record]]:
        """Leave out what was given before.

        When a partition's leader epoch changes (a broker's restart), kafka-python 3.0.12 asks the
        broker whether its position still holds. An answer "I do not know that epoch" it takes
        for a truncated log, and silently reads on from the beginning (KIP-320). Nothing that was
        acknowledged by all replicas can be truncated, so what comes again was read before.
        """
        unseen: dict[TopicPartition, list[Record]] = {}
        for partition, records in found.items():
            given = self._given.get(partition, 0)
            if records[0].offset < given:
                log.warning(
                    "%s/%d jumped back to %d; reading on from %d",
                    *partition,
                    records[0].offset,
                    given,
                )
                self._consumer.seek(partition, given)
                continue
            unseen[partition] = records
            # If it was taken away meanwhile these may have to come again: nothing is noted.
            if self._losses.get(partition) == losses.get(partition):
                self._given[partition] = records[-1].offset + 1
        return unseen

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._losses[partition] = self._losses.get(partition, 0) + 1
            self._given.pop(partition, None)

    def _lead(self) -> None:
        """Join once more after a static member's first join.

        The broker gives a restarted static member its old assignment without a rebalance,
        also where topics have come meanwhile, and does not tell it that it leads the group;
        a leader that does not know so never assigns anything again. A leader's further join
        always makes a rebalance, in which it learns it; another member's costs nothing.
        """
        if self._consumer.group_metadata().state == MemberState.STABLE:
            self._may_lead_unknowing = False
            self._consumer._coordinator.request_rejoin()

    def idle(self, seconds: float) -> None:
        """Stay a member of the group for a while without reading anything."""
        assigned = self.assignment()
        self._consumer.pause(*assigned)
        try:
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                before_poll(self._consumer)
                found = self._consumer.poll(timeout_ms=int(min(left, 0.5) * 1000))
                for partition, records in found.items():
                    # Assigned during this very poll, so not paused; read again later.
                    self._consumer.seek(partition, records[0].offset)
                    self._consumer.pause(partition)
                    assigned.add(partition)
        finally:
            self._consumer.resume(*(assigned & self.assignment()))

    def assignment(self) -> set[TopicPartition]:
        """The partitions this member reads now."""
        return set(self._consumer.assignment())

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """The group's committed offset and metadata. Raises KafkaError."""
        return self._consumer.committed(partition, metadata=True, timeout_ms=COMMITTED_TIMEOUT_MS)

    def rewind(self) -> None:
        """Set every assigned partition back to what is committed. Raises KafkaError."""
        for partition in self.assignment():
            found = self.committed(partition)
            if found is None or found.offset < 0:
                # Not seek_to_beginning(), which only asks for it to be done some time.
                asked = self._consumer.beginning_offsets(
                    [partition], timeout_ms=COMMITTED_TIMEOUT_MS
                )
                self.seek(partition, asked[partition])
            else:
                self.seek(partition, found.offset)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read this partition from `offset` on."""
        self._consumer.seek(partition, offset)
        self._given[partition] = offset

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these (those still assigned)."""
        self._consumer.pause(*(set(partitions) & self.assignment()))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Go on reading these (those still assigned)."""
        self._consumer.resume(*(set(partitions) & self.assignment()))

    def group_metadata(self) -> ConsumerGroupMetadata:
        """This member's generation, which fences a stale one's transaction (KIP-447)."""
        return self._consumer.group_metadata()

    def lag(self) -> int | None:
        """Records between here and the ends of the partitions, as last seen; None: unknown."""
        total = 0
        for partition in self.assignment():
            end = self._consumer.highwater(partition)
            if end is None:
                return None
            total += max(0, end - self._consumer.position(partition, timeout_ms=1000))
        return total

    def close(self) -> None:
        """Leave (a static member keeps its place for its successor)."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        except (KafkaError, RuntimeError) as error:
            log.warning("closing the consumer: %s", error)
