"""Copies of events on a client's own topic, which is deleted and created, on a real broker."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError, UnknownTopicOrPartitionError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition
from msgspec.structs import replace

from shared.runtime.clock import FakeClock
from shared.runtime.failpoints import Failpoints
from shared.settings.sections import KafkaSettings
from shared.stream import client_events, outputs
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.stream.client_events import MAX_LOST, ClientEvents
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import Watchdog
from shared.topics import names
from shared.topics.names import TopicPlan
from tests.support.chaos.witnesses import follow
from tests.support.patience import PATIENCE_S
from tests.support.smtp_peers import wait_until

# Longer than any test takes.
ALWAYS_S = 3_600.0


class Stage:
    """A producer of copies for one client, with a topic in place of mail.events."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.kafka = KafkaSettings(bootstrap=bootstrap)
        self.client = f"{name}-{time.time_ns()}"
        self.main = f"test.events.{self.client}"
        self.own = names.own_events(self.client)
        ensure_topics(KafkaSettings(bootstrap=bootstrap), [TopicPlan(self.main, 2, {})])
        self.losses: list[str] = []
        self.use(self.kafka, 60.0)

    def use(self, kafka: KafkaSettings, left_out_s: float) -> None:
        """Continue as a process with these settings."""
        self.own_events = ClientEvents(kafka, left_out_s=left_out_s)
        options = ClientOptions(kafka.bootstrap, self.client)
        self.producer = TransactionalProducer(
            options, "own", Failpoints.none(), Watchdog(), self.own_events
        )

    def tell(self, number: int) -> None:
        """Publish one event and its copy, with the retries of the services."""
        told = Output(self.main, b"%d" % number, b"%d" % number)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.producer.commit([told, outputs.client_copy(told, self.client)])
                return
            except TransactionLost as error:
                self.losses.append(str(error))
                assert time.monotonic() < until, f"the line stands: {self.losses}"

    def delete_own(self) -> None:
        """Delete the client's topic, if it is there: its copies may be left out for a while."""
        admin = KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        with contextlib.suppress(UnknownTopicOrPartitionError):
            admin.delete_topics([self.own])
        admin.close()

    def has_own(self) -> bool:
        admin = KafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        found = self.own in admin.list_topics()
        admin.close()
        return found

    def on(self, topic: str, count: int) -> list[int]:
        consumer = follow(self.kafka.bootstrap, topic)
        found: list[int] = []
        until = time.monotonic() + PATIENCE_S
        while len(found) < count:
            assert time.monotonic() < until, f"{topic}: only {found}"
            for records in consumer.poll(timeout_ms=200).values():
                found += [int(record.value) for record in records]
        consumer.close()
        return sorted(found)

    def is_copied(self, number: int) -> bool:
        """Whether the client's own topic has this event now."""
        if not self.has_own():
            return False
        consumer = follow(self.kafka.bootstrap, self.own)
        parts = list(consumer.assignment())
        ends = consumer.end_offsets(parts)
        found: list[int] = []
        while any(consumer.position(each) < ends[each] for each in parts):
            for records in consumer.poll(timeout_ms=200).values():
                found += [int(record.value) for record in records]
        consumer.close()
        return number in found

    def close(self) -> None:
        self.producer.close()


@pytest.fixture
def stage(
    kafka_bootstrap: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    # A topic that a busy broker shows late would be left out.
    monkeypatch.setattr(client_events, "METADATA_MS", int(PATIENCE_S * 1000))
    made = Stage(kafka_bootstrap, f"own-{request.node.name[5:25].replace('_', '-')}")
    yield made
    made.close()


def test_the_topic_is_made_with_the_first_event(stage: Stage) -> None:
    stage.tell(1)
    assert stage.losses == []
    assert stage.on(stage.main, 1) == stage.on(stage.own, 1) == [1]


def test_a_deleted_topic_is_made_anew_and_no_event_waits_for_the_watchdog(stage: Stage) -> None:
    stage.use(stage.kafka, left_out_s=1.0)
    told = 0
    for _ in range(3):
        for _ in range(2):
            told += 1
            stage.tell(told)
        stage.delete_own()

    # On a slow machine so many attempts may fail that the copies are left out for a while.
    def is_next_copied() -> bool:
        nonlocal told
        told += 1
        stage.tell(told)
        return stage.is_copied(told)

    wait_until(is_next_copied, "copies come again")
    assert stage.on(stage.main, told) == list(range(1, told + 1))


def test_no_event_is_lost_where_a_deletion_meets_a_transaction(stage: Stage) -> None:
    stage.tell(1)
    told, done = [1], threading.Event()

    def tell() -> None:
        while not done.is_set():
            stage.tell(told[0] + 1)
            told[0] += 1

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        for _ in range(4):
            before = told[0]
            wait_until(lambda before=before: told[0] > before + 1, "two more events")  # type: ignore[misc]
            stage.delete_own()
        before = told[0]
        wait_until(lambda: told[0] > before + 1, "two more events")
    finally:
        done.set()
        thread.join()
    assert stage.on(stage.main, told[0]) == list(range(1, told[0] + 1))


def test_a_topic_that_cannot_be_made_is_left_out_for_a_while_and_the_log_says_so(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    # One broker cannot hold three replicas.
    stage.use(replace(stage.kafka, replication=3), left_out_s=ALWAYS_S)
    stage.tell(1)
    stage.tell(2)
    said = [one.getMessage() for one in caplog.records if one.name == client_events.__name__]
    (line,) = [one for one in said if stage.own in one]
    assert "could not be created" in line
    stage.use(stage.kafka, left_out_s=1.0)
    stage.tell(3)
    assert stage.on(stage.main, 3) == [1, 2, 3]
    assert stage.on(stage.own, 1) == [3]


def test_what_was_left_out_comes_again_after_its_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(client_events, "monotonic", clock.monotonic)
    stage.use(stage.kafka, left_out_s=60.0)
    for _ in range(MAX_LOST):
        stage.own_events.lost({stage.main, stage.own}, KafkaError("for the test"))
    clock.go_on(59.0)
    stage.tell(1)
    assert not stage.has_own()
    clock.go_on(1.0)
    stage.tell(2)
    assert stage.on(stage.main, 2) == [1, 2]
    assert stage.on(stage.own, 1) == [2]


def test_losses_without_a_copy_and_before_a_commit_count_for_nothing(stage: Stage) -> None:
    lost = KafkaError("for the test")
    for topics in ({stage.main}, {stage.own}, {stage.main}, {stage.own}):
        for _ in range(MAX_LOST - 1):
            stage.own_events.lost(topics, lost)
        stage.own_events.committed()
    stage.tell(1)
    assert stage.on(stage.own, 1) == [1]


def test_a_process_that_has_lost_its_membership_leaves_no_copy_out(stage: Stage) -> None:
    stage.tell(1)
    place = {TopicPartition(stage.main, 0): OffsetAndMetadata(1, "", -1)}
    nobody = ConsumerGroupMetadata(f"g.{stage.main}", 7, "nobody", None)
    outputs = [Output(topic, b"9", b"k") for topic in (stage.main, stage.own)]
    for _ in range(MAX_LOST + 1):
        with pytest.raises(TransactionLost, match=r"CommitFailed|UnknownMember|IllegalGeneration"):
            stage.producer.commit(outputs, place, nobody)
    stage.tell(2)
    assert stage.on(stage.own, 2) == stage.on(stage.main, 2) == [1, 2]
