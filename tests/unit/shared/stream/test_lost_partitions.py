"""Partitions that a worker loses and gets again: each message is attempted and settled once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.stream.holdings import to_commit
from shared.stream.jobs import Handler, Job, Limits, WorkerStatus
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.ledger import PartitionLedger, decode_metadata
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.transactions import Output, TransactionLost
from shared.stream.worker_session import WorkerSession
from shared.topics.codec import encode_pack
from shared.topics.records import Message
from tests.support.stream_topics import envelope

PARTITIONS = [TopicPartition("mail.outbound.default", number) for number in range(2)]
RECORDS, PACK = 3, 2
MAIL_IDS = [
    f"{partition.partition}-{offset}-{index}"
    for partition in PARTITIONS
    for offset in range(RECORDS)
    for index in range(PACK)
]
EVENT, COPY = "mail.events", "mail.deferred.1m"
BEFORE, AFTER = "before the commit", "after the commit"


class Broker:
    """Logs, committed offsets and written records in memory."""

    def __init__(self) -> None:
        self.topic_id = UUID(int=1)
        self.logs: dict[TopicPartition, list[Any]] = {p: _log_of(p) for p in PARTITIONS}
        self.offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        self.written: list[Output] = []
        self.losses: list[str] = []

    def open(self) -> None:
        """The transaction in doubt has its end already."""

    def commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
        placed: list[int] | None = None,
    ) -> None:
        loss = self.losses.pop() if self.losses else None
        if loss is not BEFORE:
            self.written += outputs
            self.offsets.update(offsets or {})
        if loss is not None:
            raise TransactionLost(loss)

    def count(self, topic: str) -> Counter[bytes | None]:
        return Counter(output.value for output in self.written if output.topic == topic)


class Member:
    """A member of the group that reads all partitions from their committed offsets."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._positions = {
            partition: found.offset if (found := self.committed(partition)) else 0
            for partition in broker.logs
        }

    def poll(self, _timeout_ms: int, most: int) -> dict[TopicPartition, list[Any]]:
        found = {}
        for partition, log in self._broker.logs.items():
            at = self._positions[partition]
            if log[at : at + most]:
                found[partition] = log[at : at + most]
                self._positions[partition] = at + len(found[partition])
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = offset

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Everything is read."""

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Everything is read."""

    def assignment(self) -> set[TopicPartition]:
        return set(self._positions)

    def take_revoked(self) -> list[TopicPartition]:
        return []

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        return self._broker.offsets.get(partition)

    def membership(self) -> ConsumerGroupMetadata:
        return ConsumerGroupMetadata("g", 1, "member", None)

    def has_lease(self) -> bool:
        return True

    def topic_id(self, _topic: str) -> UUID:
        return self._broker.topic_id

    def waiting_for(self) -> str:
        return ""

    def close(self) -> None:
        """Leave the group."""


class Process:
    """A worker with one session at a time, and the attempts of its messages."""

    def __init__(self, broker: Broker, most_kept: int = 100) -> None:
        self._broker = broker
        self.status = WorkerStatus()
        self.handed: list[Job] = []
        self.attempted: list[str] = []
        self.under_way: list[Job] = []
        kept = KeptOutcomes(most_kept, 1_000)
        self._outcomes = OutcomeWriter("test", broker, Failpoints.none(), 4, kept=kept)
        self._session = self._join()

    def _join(self) -> WorkerSession:
        member: Any = Member(self._broker)
        handler = Handler(self.handed.extend, lambda _record, _reason: [], lambda _messages: 0)
        limits = Limits(commit_interval_s=0.0)
        return WorkerSession(
            member,
            self._outcomes,
            handler,
            limits=limits,
            status=self.status,
            hit=lambda _step: None,
        )

    def turn(self) -> None:
        with suppress(TransactionLost):
            self._session.turn()

    def lose(self) -> None:
        """Lose the membership and join again."""
        self._session.close()
        self._session = self._join()

    def begin(self, count: int) -> None:
        for job in self.handed[:count]:
            if job.begin():
                self.attempted.append(job.message.envelope.mail_id)
                self.under_way.append(job)
        del self.handed[:count]

    def end(self, count: int) -> None:
        for job in self.under_way[:count]:
            mail_id = job.message.envelope.mail_id.encode()
            self._outcomes.settle(job, [Output(EVENT, mail_id), Output(COPY, mail_id)])
        del self.under_way[:count]

    def finish(self) -> None:
        """Attempt and settle everything that is left."""
        for _ in range(3 * len(MAIL_IDS)):
            self.turn()
            self.begin(len(self.handed))
            self.end(len(self.under_way))
        assert self.status.in_flight == 0


def _log_of(partition: TopicPartition) -> list[Any]:
    log = []
    for offset in range(RECORDS):
        messages = [_message(f"{partition.partition}-{offset}-{index}") for index in range(PACK)]
        value, headers = encode_pack(messages)
        log.append(SimpleNamespace(offset=offset, value=value, headers=headers))
    return log


def _message(mail_id: str) -> Message:
    return Message(envelope(mail_id), b"content")


def settled_once() -> Counter[bytes | None]:
    return Counter(mail_id.encode() for mail_id in MAIL_IDS)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["turn", "lose", BEFORE, AFTER]),
        st.tuples(st.sampled_from(["begin", "end"]), st.integers(1, 8)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(STEPS)
def test_whenever_partitions_and_transactions_are_lost_each_message_has_one_attempt_and_outcome(
    steps: list[str | tuple[str, int]],
) -> None:
    broker = Broker()
    process = Process(broker)
    for step in steps:
        match step:
            case "turn":
                process.turn()
            case "lose":
                process.lose()
            case ("begin", int(count)):
                process.begin(count)
            case ("end", int(count)):
                process.end(count)
            case str(loss):
                broker.losses.append(loss)
    process.finish()
    assert Counter(process.attempted) == Counter(MAIL_IDS)
    assert broker.count(EVENT) == broker.count(COPY) == settled_once()
    assert process.status.kept_outcomes == 0


def test_what_another_member_has_settled_meanwhile_is_not_settled_again() -> None:
    broker = Broker()
    process = Process(broker)
    process.turn()
    process.begin(len(MAIL_IDS))
    process.end(len(MAIL_IDS))
    for partition in PARTITIONS:
        ledger = PartitionLedger(0)
        ledger.add(0, PACK)
        ledger.add(1, PACK)
        for offset, index in ((0, 0), (0, 1), (1, 1)):
            ledger.settle(offset, index)
        broker.offsets[partition] = to_commit(ledger)
    process.lose()
    process.finish()
    by_another = {f"{p.partition}-{place}" for p in PARTITIONS for place in ("0-0", "0-1", "1-1")}
    left = {mail_id.encode() for mail_id in MAIL_IDS if mail_id not in by_another}
    assert broker.count(EVENT) == Counter(left)
    assert process.status.kept_outcomes == 0


def test_the_messages_of_a_recreated_topic_are_attempted() -> None:
    broker = Broker()
    process = Process(broker)
    process.turn()
    process.begin(len(MAIL_IDS))
    broker.topic_id = UUID(int=2)
    process.lose()
    process.end(len(MAIL_IDS))
    process.finish()
    assert Counter(process.attempted) == Counter(2 * MAIL_IDS)
    assert broker.count(EVENT) == settled_once()


def test_more_messages_than_may_be_kept_are_attempted_again_and_counted() -> None:
    broker = Broker()
    process = Process(broker, most_kept=len(MAIL_IDS) - PACK)
    process.turn()
    process.begin(len(MAIL_IDS))
    process.lose()
    process.finish()
    assert len(process.attempted) == len(MAIL_IDS) + PACK
    assert process.status.dropped_outcomes == PACK
    assert broker.count(EVENT) == settled_once()


def test_an_attempt_that_goes_on_keeps_its_mark_as_offered() -> None:
    broker = Broker()
    process = Process(broker)
    process.turn()
    process.begin(1)
    process.lose()
    process.turn()
    process.begin(len(process.handed))
    first = process.under_way.pop(0)
    process.end(len(MAIL_IDS))
    for _ in MAIL_IDS:
        process.turn()
    found = broker.offsets[PARTITIONS[0]]
    assert decode_metadata(found.metadata, found.offset).offered == {0: 1}
    process.under_way.append(first)
    process.finish()
    assert Counter(process.attempted) == Counter(MAIL_IDS)
