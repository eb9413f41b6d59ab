"""Reads mail.events as a member of the consumer group of the billing service. Reading begins at the
offsets that are stored with the cells.

This module owns the consumer and the position of each partition, but not the watermarks, which are
in the cells. A partition that was newly assigned is paused until place() sets its first offset.
unassign() pauses the partition again. The committed offsets of the group are not used.

All methods must be called by one thread. kafka-python reports changes of the assignment on its I/O
thread. The changes are put into a queue, and the next call of poll() or unplaced() processes them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from kafka import ConsumerRebalanceListener
from kafka.errors import FencedInstanceIdError, IllegalStateError, KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from services.billing.core.usage import EventRecord
from shared.stream.client import SESSION_TIMEOUT_MS, ClientOptions, make_consumer, position_of
from shared.stream.kafka_python.fetching import UndecodableRecord, skip_headers_after
from shared.stream.kafka_python.fetching_by_id import fetch_by_id
from shared.stream.kafka_python.membership import Membership
from shared.stream.kafka_python.polling import poll, subscribe
from shared.stream.kafka_python.topic_ids import topic_id
from shared.stream.recreated_topics import require_same_for_reading
from shared.topics.names import EVENTS

log = logging.getLogger(__name__)

FETCH_WAIT_MS: Final = 100
ASK_TIMEOUT_MS: Final = 5_000
POSITION_TIMEOUT_MS: Final = 2_000
CLOSE_TIMEOUT_MS: Final = 3_000


class EventRun(Struct, frozen=True):
    """Consecutive records of one partition, and the offset at which the next run begins.

    The next run begins at the offset `target`. `target` may advance by more than the number of
    records, because transaction markers and aborted records have offsets, too. `undecodable` is the
    number of batches that could not be decoded.
    """

    partition: int
    records: Sequence[EventRecord]
    target: int
    undecodable: int = 0


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Pauses new partitions before any of their records are fetched. Its methods run on the I/O
    thread."""

    def __init__(self, consumer: Any, changes: deque[tuple[int, bool]]) -> None:
        self._consumer = consumer
        self._changes = changes

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for partition in assigned:
            # The position 0 is only preliminary. Without any position, the consumer would ask for a
            # committed offset.
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self._changes.append((partition.partition, True))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._changes.extend((partition.partition, False) for partition in revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)


class EventFeed:
    """One member of the consumer group of the billing service."""

    def __init__(
        self, options: ClientOptions, group: str, poll_records: int, topic: str = EVENTS
    ) -> None:
        """Raises kafka.errors.KafkaError if no broker answers."""
        self._consumer: Any = make_consumer(
            options,
            group,
            auto_offset_reset="none",  # an offset out of range is an error, so no event is skipped
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_poll_records=poll_records,
        )
        skip_headers_after(self._consumer, "ce_type")
        fetch_by_id(self._consumer)
        self._membership = Membership(self._consumer, SESSION_TIMEOUT_MS / 1000)
        self._changes: deque[tuple[int, bool]] = deque()
        self._next: dict[int, int] = {}
        self._unplaced: set[int] = set()
        self._topic = topic
        subscribe(self._consumer, _Listener(self._consumer, self._changes), topics=[topic])

    def poll(self, timeout_ms: int) -> list[EventRun]:
        """Fetch records of the placed partitions, and return them as runs. The caller must call
        this method often, even while no partition is placed.

        Raises KafkaError if this feed can no longer be used and must be replaced by a new one.
        """
        found = poll(self._consumer, timeout_ms)
        if self._membership.is_fenced:
            raise FencedInstanceIdError("another process uses this instance name")
        if self._membership.lost:
            raise KafkaError(self._membership.lost)
        require_same_for_reading(self._consumer)
        self._take_changes()
        runs = []
        for partition, begin in list(self._next.items()):
            records = found.get(self._named(partition), ())
            target = self._position(partition)
            if target < begin or (records and records[0].offset < begin):
                # The partition was revoked and assigned again after the last poll.
                self.unassign([partition])
            elif target > begin:
                self._next[partition] = target
                readable = [each for each in records if not isinstance(each, UndecodableRecord)]
                lost = len(records) - len(readable)
                runs.append(EventRun(partition, readable, target, lost))
        return runs

    def unplaced(self) -> set[int]:
        """Return the partitions that are assigned to this member and not placed yet."""
        self._take_changes()
        return set(self._unplaced)

    def place(self, partition: int, offset: int) -> None:
        """Read this partition from `offset`. Does nothing if this member has lost the partition."""
        with suppress(ValueError, KeyError, AssertionError):
            self._consumer.seek(self._named(partition), offset)
            self._consumer.resume(self._named(partition))
            self._next[partition] = offset
            self._unplaced.discard(partition)

    def unassign(self, partitions: Iterable[int]) -> None:
        """Stop reading these partitions until they are placed again."""
        for partition in partitions:
            if self._next.pop(partition, None) is not None:
                self._unplaced.add(partition)
                with suppress(ValueError, KeyError, AssertionError):
                    self._consumer.pause(self._named(partition))

    def placed(self) -> dict[int, int]:
        """Return each placed partition with the offset after the records that poll() has
        returned."""
        return dict(self._next)

    def begins(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset of each of these partitions that Kafka still has. Raises
        KafkaError."""
        asked = [self._named(partition) for partition in partitions]
        found = self._consumer.beginning_offsets(asked, timeout_ms=ASK_TIMEOUT_MS)
        return {partition.partition: offset for partition, offset in found.items()}

    def ends(self) -> dict[int, int]:
        """Return the offset after the last committed record of each placed partition.

        Raises KafkaError.
        """
        asked = [self._named(partition) for partition in self._next]
        if not asked:
            return {}
        found = self._consumer.end_offsets(asked, timeout_ms=ASK_TIMEOUT_MS)
        return {partition.partition: offset for partition, offset in found.items()}

    def log_id(self) -> str:
        """Return the id of the topic. If this id has changed, the topic was created again, and
        there are other records at the same offsets."""
        return topic_id(self._consumer, self._topic)

    def close(self) -> None:
        """Leave the group."""
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        except (KafkaError, RuntimeError) as error:
            log.warning("the consumer could not be closed: %s", error)

    def _named(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def _position(self, partition: int) -> int:
        try:
            return position_of(self._consumer, self._named(partition), POSITION_TIMEOUT_MS)
        except IllegalStateError:
            return -1

    def _take_changes(self) -> None:
        while self._changes:
            partition, assigned = self._changes.popleft()
            self._next.pop(partition, None)
            if assigned:
                self._unplaced.add(partition)
            else:
                self._unplaced.discard(partition)
