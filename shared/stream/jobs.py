"""Defines the jobs that a worker hands out. A job is one message with a link to its partition."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from kafka.structs import TopicPartition
from msgspec import Struct

from shared.runtime.clock import monotonic
from shared.stream.consumer import Record
from shared.stream.ledger import PartitionLedger
from shared.stream.loop import LoopStatus
from shared.stream.transactions import Output
from shared.topics.records import Envelope, Facts, Message, Origin


class Limits(Struct, frozen=True):
    """Limits of a worker: messages and bytes in flight, size and age of a transaction.

    `drain_timeout_s` is the longest time that a stop waits for messages in flight.
    `handover_timeout_s` is the longest time that a revoked partition stays with this member until
    its messages are finished. During this time, no other member reads the partition. After
    `handover_grace_s`, the unfinished messages of a revoked partition are moved to `handover_topic`
    (holdings.py), so that other members can read the partition. If `handover_topic` is "", messages
    are not moved. Otherwise the worker must read `handover_topic`.
    """

    max_in_flight: int = 2_000
    max_in_flight_bytes: int = 64 * 1024 * 1024
    commit_messages: int = 1_000
    commit_interval_s: float = 0.1
    drain_timeout_s: float = 60.0
    handover_timeout_s: float = 90.0
    handover_grace_s: float = 2.0
    handover_topic: str = ""


class AssignedPartition:
    """The ledger of one partition while it is assigned to this member.

    `closing` is True if no further message may begin. `gone` is True if the partition belongs to
    another member. `is_stale` is True if the last commit marks messages as offered that were not
    offered, so another commit is due. `has_lease` returns whether this process is certainly a
    member of the group now. `topic_id` is the id of the topic that is read; None if the brokers did
    not send the id.
    """

    __slots__ = (
        "_declined",
        "closing",
        "gone",
        "has_lease",
        "is_stale",
        "ledger",
        "lock",
        "partition",
        "topic_id",
    )

    def __init__(
        self,
        partition: TopicPartition,
        ledger: PartitionLedger,
        has_lease: Callable[[], bool],
        topic_id: UUID | None = None,
    ) -> None:
        self.partition = partition
        self.topic_id = topic_id
        self.ledger = ledger
        self.has_lease = has_lease
        self.lock = threading.Lock()
        self.closing = False
        self.gone = False
        self.is_stale = False
        self._declined: list[Job] = []

    def try_begin(self, job: Job, *, is_offer: bool) -> bool:
        """Mark the message as begun. Return False if the message must not be sent. Thread-safe.

        `is_offer` is True if the message is offered to a server next. Its outcome is then in doubt.
        """
        with self.lock:
            if self.closing:
                return False
            if not self.has_lease():
                self._declined.append(job)
                return False
            job.begun = True
            # The next commit marks the message as offered (ledger.py). No earlier commit can
            # contain the outcome of the message.
            if is_offer:
                self.ledger.offer(job.offset, job.index)
            return True

    def take_declined(self) -> list[Job]:
        """Return the jobs that could not begin without a lease. The worker hands them out again."""
        if not self._declined:
            return []
        with self.lock:
            declined, self._declined = self._declined, []
        return declined


class Job:
    """One message that was handed out. Call `begin()` before the first byte is sent.

    `in_doubt` is True if an earlier process began to offer the message to a server, and no outcome
    was committed. `named` is True if a commit marks the message as offered (Worker.name()).
    """

    __slots__ = ("assigned", "begun", "in_doubt", "index", "message", "named", "offset")

    def __init__(
        self, assigned: AssignedPartition, offset: int, index: int, message: Message
    ) -> None:
        self.assigned = assigned
        self.offset = offset
        self.index = index
        self.message = message
        self.begun = False
        self.named = False
        self.in_doubt = message.envelope.is_offered or assigned.ledger.is_offered(offset, index)

    def begin(self, *, is_offer: bool = True) -> bool:
        """Claim the message for an attempt. Return False if the message must not be sent.

        The result is False if the message belongs to another member, or may belong to another
        member because this process was paused. If this worker still owns the message, it hands the
        message out again. Pass `is_offer=False` if the message is settled without being offered to
        a server.
        """
        return self.assigned.try_begin(self, is_offer=is_offer)


class WorkerStatus(LoopStatus):
    """The state of a worker, for the health check and metrics."""

    handed_out: int = 0
    settled: int = 0
    in_flight: int = 0
    in_flight_bytes: int = 0
    oldest_at: float | None = (
        None  # when the oldest job was handed out; None if no job is in flight
    )
    transactions: int = 0
    lost_transactions: int = 0
    unreadable: int = 0
    kept_outcomes: int = 0
    dropped_outcomes: int = 0

    @property
    def oldest_in_flight_s(self) -> float:
        """Return the age of the oldest job in flight. It also grows if the Kafka thread hangs."""
        oldest_at = self.oldest_at
        return 0.0 if oldest_at is None else max(0.0, monotonic() - oldest_at)


# Stands for the message of a record that could not be decoded.
UNREADABLE: Final = Message(Envelope("", "", "", "", "", 0, Origin(), Facts()), b"")


class Handler(Struct, frozen=True):
    """The functions of a service that a worker calls.

    `hand_out` accepts jobs and must return at once. If a record is not a pack, `unreadable` gets
    the record and the reason, and returns the records to write as its outcome. `due_at_ms` returns
    the Unix milliseconds at which the messages of a pack must be handed out; 0 means now. `hold_s`
    gets a topic and the number of its messages that are ready to be handed out. `hold_s` returns
    the number of seconds for which the topic must not be read. 0.0 means that the topic is read.
    While `may_begin` returns False, no message begins. Declined messages are handed out again
    later. `wait_s` gets a topic, its next pack, the number of the topic's messages that are ready,
    and the seconds until the pack is due (negative if the pack is late). `wait_s` returns the
    number of seconds for which the pack stays unread in the topic.
    """

    hand_out: Callable[[list[Job]], None]
    unreadable: Callable[[Record, str], Sequence[Output]]
    due_at_ms: Callable[[Sequence[Message]], int]
    hold_s: Callable[[str, int], float] = lambda _topic, _more: 0.0
    may_begin: Callable[[], bool] = lambda: True
    wait_s: Callable[[str, Sequence[Message], int, float], float] = (
        lambda _topic, _pack, _more, due_in_s: due_in_s
    )
