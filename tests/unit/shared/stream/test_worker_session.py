"""A member reads records that are due at different times, each fetched once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.structs import TopicPartition

from shared.runtime.clock import FakeClock, now_ms
from shared.runtime.failpoints import Failpoints
from shared.stream import worker_session
from shared.stream.jobs import Handler, Job, Limits, WorkerStatus
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.worker_session import WorkerSession
from shared.topics.codec import encode_pack
from shared.topics.names import deferred
from shared.topics.records import Message
from tests.support.stream_topics import envelope, eventually

RETRIES = [TopicPartition(deferred("1m"), number) for number in range(2)]
# After each record the next one of its partition is not due yet.
EACH_MS = 15
HELD_S = 0.01


class Consumer:
    """A member of a group that reads what is in memory."""

    def __init__(self, logs: dict[TopicPartition, list[Any]]) -> None:
        self._logs = logs
        self._positions = dict.fromkeys(logs, 0)
        self._paused: set[TopicPartition] = set()
        self.lease = True
        self.seeks = 0
        self.revoked: list[TopicPartition] = []

    def poll(self, _timeout_ms: int, most: int) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {}
        for partition, log in self._logs.items():
            at = self._positions[partition]
            if partition in self.assignment() - self._paused and log[at : at + most]:
                found[partition] = log[at : at + most]
                self._positions[partition] = at + len(found[partition])
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.seeks += 1
        self._positions[partition] = offset

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(partitions)

    def assignment(self) -> set[TopicPartition]:
        return set(self._logs)

    def revoke(self, partition: TopicPartition) -> None:
        del self._logs[partition]
        self.revoked.append(partition)

    def take_revoked(self) -> list[TopicPartition]:
        revoked, self.revoked = self.revoked, []
        return revoked

    def release(self, _partitions: Sequence[TopicPartition]) -> None:
        """Another member may have them."""

    def committed(self, _partition: TopicPartition) -> None:
        """Nothing is."""

    def has_lease(self) -> bool:
        return self.lease

    def topic_id(self, _topic: str) -> None:
        """The broker does not say it."""

    def waiting_for(self) -> str:
        return ""


def log_of(partition: TopicPartition, due_at_ms: Sequence[int]) -> list[Any]:
    found = []
    for offset, due in enumerate(due_at_ms):
        sent = envelope(f"{partition.partition}-{offset}", due_at_ms=due)
        value, headers = encode_pack([Message(sent, b"x")])
        found.append(SimpleNamespace(offset=offset, value=value, headers=headers))
    return found


def session(
    consumer: Consumer,
    handed: list[Job],
    most: int = 2_000,
    held: Collection[str] = (),
) -> WorkerSession:
    """`held`: the mail ids that are left where they are."""
    producer: Any = None  # nothing is settled
    outcomes = OutcomeWriter("test", producer, Failpoints.none(), 10, kept=KeptOutcomes(10, 1_000))
    handler = Handler(
        handed.extend,
        lambda _record, _reason: [],
        lambda messages: max(each.envelope.due_at_ms for each in messages),
        wait_s=lambda _topic, pack, _more, due_in_s: (
            HELD_S if pack[0].envelope.mail_id in held else due_in_s
        ),
    )
    member: Any = consumer
    limits = Limits(max_in_flight=most)
    return WorkerSession(
        member, outcomes, handler, limits=limits, status=WorkerStatus(), hit=lambda _step: None
    )


def turn_until(of: WorkerSession, is_so: Callable[[], bool]) -> None:
    """Let the member take turns until this is so."""

    def is_so_after_a_turn() -> bool:
        of.turn()
        return is_so()

    eventually(is_so_after_a_turn)


def names(handed: list[Job], partition: TopicPartition) -> list[str]:
    mine = (job for job in handed if job.assigned.partition == partition)
    return [job.message.envelope.mail_id for job in mine]


def test_records_that_are_due_one_after_the_other_are_handed_out_in_order_and_fetched_once() -> (
    None
):
    began_ms = now_ms()
    due = [began_ms + EACH_MS * each for each in range(20)]
    consumer = Consumer({each: log_of(each, due) for each in RETRIES})
    handed: list[Job] = []
    of = session(consumer, handed)
    turn_until(of, lambda: len(handed) == 2 * len(due))
    for partition in RETRIES:
        assert names(handed, partition) == [f"{partition.partition}-{n}" for n in range(20)]
    assert now_ms() >= due[-1]
    assert consumer.seeks == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time by which records are due: none is before the test says so."""
    clock = FakeClock()
    monkeypatch.setattr(worker_session, "now_ms", clock.now_ms)
    return clock


def test_without_a_lease_nothing_that_is_kept_is_handed_out(clock: FakeClock) -> None:
    consumer = Consumer({RETRIES[0]: log_of(RETRIES[0], [clock.now_ms() + EACH_MS])})
    handed: list[Job] = []
    of = session(consumer, handed)
    of.turn()
    consumer.lease = False
    clock.go_on(EACH_MS / 1000)
    until = now_ms() + 4 * EACH_MS
    turn_until(of, lambda: now_ms() > until)
    assert handed == []
    consumer.lease = True
    turn_until(of, lambda: bool(handed))


def test_what_is_kept_of_a_revoked_partition_is_not_handed_out(clock: FakeClock) -> None:
    due = [clock.now_ms() + EACH_MS]
    consumer = Consumer({each: log_of(each, due) for each in RETRIES})
    handed: list[Job] = []
    of = session(consumer, handed)
    of.turn()
    consumer.revoke(RETRIES[0])
    clock.go_on(EACH_MS / 1000)
    turn_until(of, lambda: bool(names(handed, RETRIES[1])))
    of.turn()
    assert names(handed, RETRIES[0]) == []


def test_records_without_room_are_read_when_there_is_room_and_fetched_once() -> None:
    consumer = Consumer({RETRIES[0]: log_of(RETRIES[0], [1] * 10)})
    handed: list[Job] = []
    of = session(consumer, handed, most=4)
    of.turn()
    assert len(handed) == 4
    of.turn()
    assert len(handed) == 4
    assert consumer.seeks == 0


def test_a_pack_that_is_held_stops_its_own_partition_until_it_is_not_held_any_more() -> None:
    consumer = Consumer({each: log_of(each, [1] * 4) for each in RETRIES})
    handed: list[Job] = []
    held = {"0-2"}
    of = session(consumer, handed, held=held)
    until = now_ms() + 5 * HELD_S * 1000
    turn_until(of, lambda: now_ms() > until)
    assert names(handed, RETRIES[0]) == ["0-0", "0-1"]
    assert names(handed, RETRIES[1]) == ["1-0", "1-1", "1-2", "1-3"]
    held.clear()
    turn_until(of, lambda: len(handed) == 8)
    assert names(handed, RETRIES[0]) == ["0-0", "0-1", "0-2", "0-3"]
    assert consumer.seeks == 0
