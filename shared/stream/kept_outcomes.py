"""Keeps the attempts and outcomes of lost partitions, in case the partitions are assigned again.

If this process loses a partition without a handover (for example because the broker was paused for
longer than the session), the attempts that have begun continue, but their outcomes cannot be
committed. If the partition is assigned to this process again, the process reads the same records
again. If the outcome of a message is kept here, the message is not offered to a server a second
time, and the outcome is committed under the new membership. If the attempt of a message still runs,
the message waits for this attempt.

A kept outcome applies only to the record for which the attempt was made: the topic id, the
partition, the offset, the index in the pack and the envelope must be the same. If another member
has settled the message in the meantime, the committed offset and metadata show the message as
settled, and the kept outcome is forgotten.

This module owns the memory, its bounds, and the comparison of records. It does not own the ledgers
and the jobs in flight (holdings.py), and the transactions (outcome_writer.py). Use it only in the
Kafka thread.

An outcome is returned at most once. An attempt is returned only if its outcome is returned with it,
or if its outcome has not yet been passed to settle(). If too many outcomes are kept, the oldest are
dropped and counted. Their messages are sent again if this process reads them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from kafka.structs import TopicPartition
from msgspec import Struct
from msgspec.structs import replace

from shared.runtime.clock import monotonic
from shared.stream.jobs import UNREADABLE, AssignedPartition, Job
from shared.stream.transactions import Output
from shared.topics.records import Envelope, Message

# A suspended lane or a throttled provider may leave a pack unread for long after the partition is
# assigned again. If another process reads the partition, the memory is freed after this time.
KEPT_S: Final = 3_600.0


class Kept(Struct, eq=False):
    """A message of a lost partition. `outputs` is None while the attempt of the message runs."""

    job: Job
    outputs: Sequence[Output] | None = None


class _Place(NamedTuple):
    """The position of a record. A recreated topic has another id."""

    topic_id: UUID
    partition: TopicPartition
    offset: int


class _Record(Struct, eq=False):
    """The kept messages of one record, by their index in the pack."""

    kept_at: float  # monotonic seconds
    messages: dict[int, Kept]


class KeptOutcomes:
    """The attempts and outcomes of the partitions that one process lost."""

    def __init__(
        self,
        max_messages: int,
        max_bytes: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`max_bytes` limits the records of the outcomes. `clock` returns monotonic seconds."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._clock = clock
        # The records are in the order in which they were kept, so the oldest record is the first.
        self._records: dict[_Place, _Record] = {}
        self._count = 0
        self._bytes = 0
        # The number of messages that were dropped because too many were kept.
        self.dropped = 0

    def __len__(self) -> int:
        """Return the number of kept messages."""
        return self._count

    def keep(self, job: Job) -> None:
        """Keep a job whose partition is lost. Jobs that have not begun are not kept."""
        place = _place_of(job.assigned, job.offset)
        if place is None or not job.begun or job.message is UNREADABLE:
            return
        record = self._records.get(place)
        if record is None:
            record = self._records[place] = _Record(self._clock(), {})
        self._count += job.index not in record.messages
        record.messages[job.index] = Kept(job)
        self._trim()

    def settle(self, job: Job, outputs: Sequence[Output]) -> bool:
        """Keep the outcome of a job. Return False if the job is not kept."""
        place = _place_of(job.assigned, job.offset)
        record = self._records.get(place) if place is not None else None
        kept = record.messages.get(job.index) if record is not None else None
        if kept is None or kept.job is not job or kept.outputs is not None:
            return False
        kept.outputs = outputs
        self._bytes += _size(outputs)
        # The attempt has ended, so the content of the message is no longer needed.
        job.message = Message(job.message.envelope, b"")
        self._trim()
        return True

    def begin(self, assigned: AssignedPartition, offset: int) -> None:
        """Forget records of this partition that are before `offset` or have another topic id."""
        gone = [
            place
            for place in self._records
            if place.partition == assigned.partition
            and (place.topic_id != assigned.topic_id or place.offset < offset)
        ]
        for place in gone:
            self._forget(place)

    def take(
        self, assigned: AssignedPartition, offset: int, pack: Sequence[Message]
    ) -> dict[int, Kept]:
        """Remove this record. Return its messages that have the same envelope, by their index."""
        if not self._records or (place := _place_of(assigned, offset)) is None:
            return {}
        self._trim()
        return {
            index: kept
            for index, kept in self._forget(place).items()
            if index < len(pack) and _is_same(kept.job.message.envelope, pack[index].envelope)
        }

    def _trim(self) -> None:
        """Forget expired messages, and drop the oldest messages while there are too many."""
        expired = self._clock() - KEPT_S
        while self._records:
            place, record = next(iter(self._records.items()))
            if record.kept_at > expired:
                if self._count <= self._max_messages and self._bytes <= self._max_bytes:
                    return
                self.dropped += len(record.messages)
            self._forget(place)

    def _forget(self, place: _Place) -> dict[int, Kept]:
        record = self._records.pop(place, None)
        if record is None:
            return {}
        self._count -= len(record.messages)
        self._bytes -= sum(_size(kept.outputs or ()) for kept in record.messages.values())
        return record.messages


def _place_of(assigned: AssignedPartition, offset: int) -> _Place | None:
    """Return the position of a record, or None if the topic's id is not known."""
    if assigned.topic_id is None:
        return None
    return _Place(assigned.topic_id, assigned.partition, offset)


def _is_same(one: Envelope, other: Envelope) -> bool:
    # A copy on a shelf is marked as offered, but its job has the original envelope.
    return replace(one, is_offered=False) == replace(other, is_offered=False)


def _size(outputs: Sequence[Output]) -> int:
    return sum(len(output.value or b"") + len(output.key or b"") for output in outputs)
