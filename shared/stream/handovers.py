"""Hands partitions over to other members when a member joins or this process stops.

Messages whose attempt has not begun are dropped. Messages whose attempt has begun are finished and
committed, while polling and heartbeats continue. Messages that are still in flight after
`handover_grace_s` are moved to a shelf (holdings.py), so that another member can read their old
partition. A shelf is a partition of the handover topic that is assigned to this member. If there is
no shelf, the old partition stays with this member until its messages are finished, but at most for
`handover_timeout_s`. A shelf stays with this member until all messages on the shelf are finished,
because no other member waits for a shelf.

This module owns the partitions that are being handed over, and the shelf. It does not own the
reading of records (worker_session.py) and the transaction of a move (outcome_writer.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Set

from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.runtime.clock import monotonic
from shared.stream.consumer import StreamConsumer
from shared.stream.holdings import Holdings
from shared.stream.jobs import UNREADABLE, AssignedPartition, Job, Limits
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.transactions import TransactionLost

log = logging.getLogger(__name__)


class _Handover(Struct):
    """A partition whose drain began at `since` (monotonic seconds)."""

    assigned: AssignedPartition
    since: float


class Handovers:
    """The partitions that one member gives up. Use it only in the Kafka thread."""

    def __init__(
        self,
        consumer: StreamConsumer,
        outcomes: OutcomeWriter,
        holdings: Holdings,
        limits: Limits,
    ) -> None:
        self._consumer = consumer
        self._outcomes = outcomes
        self._holdings = holdings
        self._limits = limits
        self._draining: dict[TopicPartition, _Handover] = {}
        # Partitions that were assigned again during their drain. They are read from the committed
        # offset.
        self._returned: set[TopicPartition] = set()
        # The last used shelf. This member keeps the shelf until no more messages have to be moved.
        self._shelf: AssignedPartition | None = None
        self._stopping_since: float | None = None
        # For each crowded partition, the time at which it became crowded, and the next offset to
        # read at that time.
        self._crowded: dict[TopicPartition, tuple[float, int]] = {}
        self._has_left = False

    def unreadable(self) -> Set[TopicPartition]:
        """Return the partitions that must not be read, even if they are assigned."""
        unreadable = self._draining.keys() | self._returned
        if self._shelf is not None and self._outcomes.is_moving:
            # While the result of a move is unknown, the copies may already be on the shelf.
            unreadable.add(self._shelf.partition)
        return unreadable

    def unread_shelves(self) -> Set[TopicPartition]:
        """Return the partitions that become usable as shelves when all their records are read."""
        return {
            partition
            for partition in self._consumer.assignment()
            if self._is_shelf(partition) and not self._consumer.has_read_all(partition)
        }

    @property
    def is_stopping(self) -> bool:
        """Return True if stop() was called."""
        return self._stopping_since is not None

    def stop(self) -> None:
        """Begin to drain all partitions, because this process stops."""
        self._stopping_since = monotonic()
        for assigned in self._holdings.reading.values():
            self._close(assigned)

    def begin(self) -> list[TopicPartition]:
        """Begin to drain the newly revoked partitions, and return these partitions."""
        revoked = self._consumer.take_revoked()
        for partition in revoked:
            self._returned.discard(partition)
            self._crowded.pop(partition, None)
            assigned = self._holdings.reading.pop(partition, None)
            if assigned is not None:
                self._close(assigned)
                self._draining[partition] = _Handover(assigned, monotonic())
            elif partition not in self._draining:
                self._consumer.release([partition])
        return revoked

    def hasten(self) -> None:
        """Move messages that take too long to a shelf. Raises TransactionLost."""
        self._leave_if_slow()
        self._move_if_slow()
        self._move_if_crowded()

    def finish(self) -> None:
        """Release partitions that are drained or whose time is over. Raises TransactionLost."""
        if self._returned:
            self._reread_returned()
        if not self._draining or self._outcomes.is_moving:
            return
        in_use = {job.assigned for job in self._holdings.in_flight}
        # Shelves are released last, because messages of other partitions may still be moved there.
        for partition in sorted(self._draining, key=self._is_shelf):
            if self._is_shelf(partition) and not all(map(self._is_shelf, self._draining)):
                return
            handover = self._draining[partition]
            if handover.assigned in in_use or handover.assigned.is_stale:
                # A shelf has no time limit, because no other member waits for it.
                is_over = monotonic() >= handover.since + self._limits.handover_timeout_s
                if self._is_shelf(partition) or not is_over:
                    continue
                log.warning("%s/%d is released before it is drained", *partition)
            self._release(partition)

    def close(self) -> None:
        """Drop the partitions that are being drained. Other members process them from now on."""
        for handover in self._draining.values():
            self._holdings.close(handover.assigned)
            self._holdings.drop(handover.assigned)

    def _close(self, assigned: AssignedPartition) -> None:
        self._holdings.close(assigned)
        self._outcomes.renew(assigned)

    def _release(self, partition: TopicPartition) -> None:
        self._holdings.drop(self._draining.pop(partition).assigned)
        self._outcomes.drop()
        if partition in self._consumer.assignment() and not self._has_left:
            self._returned.add(partition)
        self._consumer.release([partition])

    def _reread_returned(self) -> None:
        """Rewind returned partitions to the offsets that were committed during their drain."""
        try:
            self._consumer.rewind(self._returned)
        except KafkaError as error:
            raise TransactionLost(f"committed offsets: {error}") from error
        self._returned.clear()

    def _leave_if_slow(self) -> None:
        """If stopping takes longer than the grace time, give up the partitions of this process."""
        since = self._stopping_since
        if since is None or self._has_left or not self._is_slow(since):
            return
        if not self._holdings.in_flight:
            return
        self._shelf = self._find_shelf()
        for partition, assigned in self._holdings.reading.items():
            self._draining[partition] = _Handover(assigned, since)
        self._holdings.reading.clear()
        self._consumer.leave(self._draining)
        self._has_left = True

    def _move_if_slow(self) -> None:
        """Empty the draining partitions by moving their messages in flight to a shelf."""
        slow = {each.assigned for each in self._draining.values() if self._is_slow(each.since)}
        if slow:
            jobs = self._holdings.in_flight
            # An unreadable record already has its outcome.
            self._move(j for j in jobs if j.assigned in slow and j.message is not UNREADABLE)

    def _move(self, slow: Iterable[Job]) -> None:
        """Move these jobs to a shelf, if there is a shelf and no other move is in progress."""
        if self._outcomes.is_moving or not self._consumer.has_lease():
            return
        jobs = list(slow)
        if not jobs:
            return
        self._shelf = shelf = self._find_shelf()
        # If a shelf is being drained, its messages can move only to another shelf.
        jobs = [job for job in jobs if job.assigned is not shelf]
        if jobs and shelf is not None and (room := shelf.ledger.room()):
            self._outcomes.move(jobs[:room], shelf)

    def _move_if_crowded(self) -> None:
        """If the ledger of a partition is almost full, move messages that have long been in flight.

        A ledger holds a limited number of partly settled packs. If one message of each pack takes
        minutes, the ledger becomes full and stops the partition.
        """
        now = monotonic()
        slow: set[Job] = set()
        for partition, assigned in self._holdings.reading.items():
            if self._is_shelf(partition) or not assigned.ledger.is_crowded():
                self._crowded.pop(partition, None)
                continue
            since, end = self._crowded.setdefault(partition, (now, assigned.ledger.next_offset))
            if self._is_slow(since):
                slow.update(job for job in self._begun(assigned) if job.offset < end)
                self._crowded[partition] = (now, assigned.ledger.next_offset)
        if slow and not self.is_stopping:
            self._move(slow)

    def _begun(self, assigned: AssignedPartition) -> Iterator[Job]:
        """Yield the begun jobs of a partition. Only begun jobs may be moved."""
        for job in self._holdings.in_flight:
            if job.assigned is assigned and job.begun and job.message is not UNREADABLE:
                yield job

    def _find_shelf(self) -> AssignedPartition | None:
        """Return a partition of the handover topic whose records are all read, or None.

        A partition that stays with this member is preferred. The next choice is the last used
        shelf.
        """
        # After leave(), this member owns only the partitions that it claims.
        own = set() if self._has_left else self._consumer.assignment()
        for partition in sorted(own - self.unreadable()):
            if self._is_shelf(partition) and self._consumer.has_read_all(partition):
                try:
                    return self._holdings.partition(partition)
                except KafkaError as error:
                    log.warning("the committed offset of %s/%d is not known: %s", *partition, error)
        return None if self._shelf is None or self._shelf.gone else self._shelf

    def _is_shelf(self, partition: TopicPartition) -> bool:
        topic: str = partition.topic
        return topic == self._limits.handover_topic

    def _is_slow(self, since: float) -> bool:
        return monotonic() - since >= self._limits.handover_grace_s
