"""The handover of partitions to other members, when one joins or this one stops.

Messages that have not begun are dropped; those that have begun are finished and committed while
polling and heartbeats continue. Those that still run after `handover_grace_s` are moved to a shelf,
a partition of the handover topic that this member has (move.py), so that another member can read
their partition. Without a shelf the partition stays with this member until they are finished, at
most `handover_timeout_s`. The shelf stays with it for as long as they take: nobody waits for it.

Owns: the partitions being handed over, and the shelf. Does not own: reading (worker_session.py),
how a move commits (outcome_writer.py).
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
    """A partition that is drained since `since` (monotonic seconds)."""

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
        # Partitions that came back while they were drained; read again from the committed offset.
        self._returned: set[TopicPartition] = set()
        # The last one used. It is kept until nothing has to be moved any more.
        self._shelf: AssignedPartition | None = None
        self._stopping_since: float | None = None
        # Since when a ledger that is read is crowded, and where reading continued then.
        self._crowded: dict[TopicPartition, tuple[float, int]] = {}
        self._has_left = False

    def unreadable(self) -> Set[TopicPartition]:
        """The partitions that must not be read, even if they are assigned."""
        unreadable = self._draining.keys() | self._returned
        if self._shelf is not None and self._outcomes.is_moving:
            # The copies may be there although the result of their transaction is not known yet.
            unreadable.add(self._shelf.partition)
        return unreadable

    def unread_shelves(self) -> Set[TopicPartition]:
        """The partitions that become shelves as soon as everything on them is read."""
        return {
            partition
            for partition in self._consumer.assignment()
            if self._is_shelf(partition) and not self._consumer.has_read_all(partition)
        }

    @property
    def is_stopping(self) -> bool:
        """Whether stop() was called."""
        return self._stopping_since is not None

    def stop(self) -> None:
        """Begin to drain everything: this process stops."""
        self._stopping_since = monotonic()
        for assigned in self._holdings.reading.values():
            self._close(assigned)

    def begin(self) -> list[TopicPartition]:
        """Begin to drain the partitions revoked since the last call; return them."""
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
        """Move what takes long. Raises TransactionLost."""
        self._leave_if_slow()
        self._move_if_slow()
        self._move_if_crowded()

    def finish(self) -> None:
        """Release the partitions that are drained or whose time is over. Raises TransactionLost."""
        if self._returned:
            self._reread_returned()
        if not self._draining or self._outcomes.is_moving:
            return
        in_use = {job.assigned for job in self._holdings.in_flight}
        # The shelves come last, because messages of the others may still be moved there.
        for partition in sorted(self._draining, key=self._is_shelf):
            if self._is_shelf(partition) and not all(map(self._is_shelf, self._draining)):
                return
            handover = self._draining[partition]
            if handover.assigned in in_use or handover.assigned.is_stale:
                # Nobody waits for a shelf.
                is_over = monotonic() >= handover.since + self._limits.handover_timeout_s
                if self._is_shelf(partition) or not is_over:
                    continue
                log.warning("%s/%d is released before it is drained", *partition)
            self._release(partition)

    def close(self) -> None:
        """Drop the drained partitions: another member works on them."""
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
        """Rewind partitions that came back to the offsets committed while they were drained."""
        try:
            self._consumer.rewind(self._returned)
        except KafkaError as error:
            raise TransactionLost(f"committed offsets: {error}") from error
        self._returned.clear()

    def _leave_if_slow(self) -> None:
        """Let other members have the partitions of a stopping process that takes a while."""
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
        """Move what is still in flight on drained partitions, so that others can read them."""
        slow = {each.assigned for each in self._draining.values() if self._is_slow(each.since)}
        if slow:
            jobs = self._holdings.in_flight
            # The outcome of an unreadable record is there already.
            self._move(j for j in jobs if j.assigned in slow and j.message is not UNREADABLE)

    def _move(self, slow: Iterable[Job]) -> None:
        """Move these jobs to a shelf, if there is one and no other move is under way."""
        if self._outcomes.is_moving or not self._consumer.has_lease():
            return
        jobs = list(slow)
        if not jobs:
            return
        self._shelf = shelf = self._find_shelf()
        # A shelf that is drained too moves to another one: others may have left messages on it.
        jobs = [job for job in jobs if job.assigned is not shelf]
        if jobs and shelf is not None and (room := shelf.ledger.room()):
            self._outcomes.move(jobs[:room], shelf)

    def _move_if_crowded(self) -> None:
        """Move what has been in flight for long out of partitions that would soon be full.

        A ledger can hold a limited number of packs of which a part is settled: messages that take
        minutes, one in each pack, would stop the partition.
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
        """The jobs of a partition that have begun: only these can leave it, see close()."""
        for job in self._holdings.in_flight:
            if job.assigned is assigned and job.begun and job.message is not UNREADABLE:
                yield job

    def _find_shelf(self) -> AssignedPartition | None:
        """A partition of the handover topic on which everything is read; None if there is none.

        Rather one that stays with this member than one that it used before.
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
