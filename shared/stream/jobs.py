"""What a worker hands out: a job a message, on the hold it has of a partition."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from kafka.structs import TopicPartition
from msgspec import Struct

from shared.stream.consumer import Record
from shared.stream.ledger import PartitionLedger
from shared.stream.transactions import Output
from shared.topics.records import Envelope, Facts, Message, Origin


class Limits(Struct, frozen=True):
    """Bounds of a worker: messages and bytes handed out, outcomes and age of a transaction."""

    max_in_flight: int = 2_000
    max_in_flight_bytes: int = 64 * 1024 * 1024
    commit_messages: int = 1_000
    commit_interval_s: float = 0.1
    drain_timeout_s: float = 20.0


class Hold:
    """One partition's ledger while this member has it.

    `closing`: nothing of it may begin any more. `gone`: it is another member's.
    """

    __slots__ = ("closing", "gone", "ledger", "lock", "partition")

    def __init__(self, partition: TopicPartition, ledger: PartitionLedger) -> None:
        self.partition = partition
        self.ledger = ledger
        self.lock = threading.Lock()
        self.closing = False
        self.gone = False


class Job:
    """One message handed out. `begin()` before the first byte goes out."""

    __slots__ = ("begun", "hold", "index", "message", "offset")

    def __init__(self, hold: Hold, offset: int, index: int, message: Message) -> None:
        self.hold = hold
        self.offset = offset
        self.index = index
        self.message = message
        self.begun = False

    def begin(self) -> bool:
        """Claim the message for an attempt; False when it is not ours to send any more."""
        with self.hold.lock:
            if self.hold.closing:
                return False
            self.begun = True
            return True


class WorkerStatus(Struct):
    """What a health check and the metrics tell of a worker."""

    handed_out: int = 0
    settled: int = 0
    in_flight: int = 0
    in_flight_bytes: int = 0
    transactions: int = 0
    lost_transactions: int = 0
    unreadable: int = 0
    waiting_for: str = "start"


# Stands in for the message of a record that could not be read.
UNREADABLE: Final = Message(Envelope("", "", "", "", "", 0, Origin(), Facts()), b"")

HandOut = Callable[[list[Job]], None]
Unreadable = Callable[[Record, str], Sequence[Output]]
NotBefore = Callable[[Sequence[Message]], int]
