"""Billing with a real broker and a real store: counted once, whatever is lost in between."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC
from pathlib import Path

import pytest
import redis
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition
from msgspec import Struct

from cli.audit.command import audit
from local.parts.ports import free_ports
from local.parts.redis_server import RedisPlan, prepare
from local.process import Process
from services.billing.core.answer import Usage
from services.billing.core.month import Months
from services.billing.core.rows import Row
from services.billing.edge.cells import RedisCells
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.metrics import BillingMetrics
from services.billing.edge.recounting import RecountReport, recount
from services.billing.edge.usage_view import UsageView
from services.billing.edge.worker import Worker, WorkerParts
from shared.audit.event_log import EventLog
from shared.runtime.clock import SystemClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counters
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.topics import ids
from shared.topics.names import TopicPlan
from tests.support.billing.publisher import MONTH, NOON_MS, Publisher
from tests.support.billing.stage import PATIENCE_S, eventually, running

PARTITIONS = 3


class Stage(Struct):
    """A topic, a store and a group for one test."""

    bootstrap: str
    topic: str
    client: redis.Redis
    state: str
    publisher: Publisher
    workers: int = 0

    @property
    def cells(self) -> RedisCells:
        return RedisCells(self.client, self.state)

    @contextmanager
    def counting(self) -> Iterator[Worker]:
        """A worker that counts meanwhile and then stops gracefully."""
        self.workers += 1
        options = ClientOptions(self.bootstrap, f"billing-{self.workers}")
        counters = Counters("billing")
        worker = Worker(
            WorkerParts(
                options=options,
                group=f"g.{self.topic}",
                poll_records=500,
                cells=self.cells,
                months=Months(UTC),
                clock=SystemClock(),
                failpoints=Failpoints.none(),
                metrics=BillingMetrics(counters),
                topic=self.topic,
            )
        )
        with closing(counters), running(worker):
            yield worker

    def usage(self, wait_s: float = PATIENCE_S) -> Usage:
        ends = EndsAsker(ClientOptions(self.bootstrap, "test"), self.topic)
        try:
            return UsageView(self.cells, ends).read(MONTH, wait_s=wait_s)
        finally:
            ends.close()

    def recount(self) -> RecountReport:
        with EventLog(ClientOptions(self.bootstrap, "test"), self.topic) as log:
            return recount(log, self.cells, Months(UTC))

    def assert_counted_once(self) -> None:
        found = self.usage()
        assert found.complete, found.reason
        messages = self.publisher.messages
        assert [row.billed for row in found.rows] == [messages // 3] * 3
        assert [row.received for row in found.rows] == [messages // 3] * 3
        assert sum(row.delivered + row.bounced for row in found.rows) == messages
        report = self.recount()
        assert report.agree, report


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Stage]:
    with _stage(kafka_bootstrap, redis_url) as found:
        yield found


@contextmanager
def _stage(bootstrap: str, redis_url: str) -> Iterator[Stage]:
    name = uuid.uuid4().hex[:12]
    topic = f"test.events.{name}"
    ensure_topics(KafkaSettings(bootstrap=bootstrap), [TopicPlan(topic, PARTITIONS, {})])
    with ExitStack() as stack:
        client = connect(RedisSettings(url=redis_url))
        stack.callback(client.close)
        publisher = Publisher(bootstrap, topic)
        stack.callback(publisher.close)
        yield Stage(bootstrap, topic, client, f"{{test:{name}}}:cells", publisher)


def test_every_committed_event_is_counted_once(stage: Stage) -> None:
    stage.publisher.publish(900)
    with stage.counting():
        stage.publisher.publish(900, commit=False)
        stage.publisher.publish(900)
        stage.assert_counted_once()
    assert stage.usage(0).rows[0] == Row(
        "bank", "letters", "", billed=600, received=600, delivered=480, bounced=120
    )


def test_the_store_is_emptied_in_the_middle_and_the_workers_started_anew(stage: Stage) -> None:
    with stage.counting():
        stage.publisher.publish(3000)
        eventually(lambda: bool(stage.cells.read().watermarks), "something is counted")
        stage.client.flushdb()
        stage.publisher.publish(3000)
    stage.publisher.publish(600)
    stage.client.flushdb()
    with stage.counting():
        stage.publisher.publish(600)
        stage.assert_counted_once()


@pytest.mark.parametrize("suffix", ["", f":{MONTH}"], ids=["the-state", "a-month"])
def test_a_half_lost_store_is_noticed_and_rebuilt_without_any_traffic(
    stage: Stage, suffix: str
) -> None:
    stage.publisher.publish(900)
    with stage.counting():
        stage.assert_counted_once()
        stage.client.delete(stage.state + suffix)
        assert not stage.usage(0).complete
        stage.assert_counted_once()


def test_a_store_set_back_to_an_older_state_is_counted_on_from_there(stage: Stage) -> None:
    month = f"{stage.state}:{MONTH}"
    with stage.counting():
        stage.publisher.publish(900)
        stage.assert_counted_once()
        older = {key: stage.client.hgetall(key) for key in (stage.state, month)}
        stage.publisher.publish(900)
        stage.assert_counted_once()
        with stage.client.pipeline(transaction=True) as back:
            for key, fields in older.items():
                back.delete(key)
                back.hset(key, mapping=fields)  # type: ignore[arg-type]
            back.execute()
        stage.assert_counted_once()


def test_workers_come_and_go_while_events_come(stage: Stage) -> None:
    with stage.counting():
        stage.publisher.publish(900)
        with stage.counting():
            stage.publisher.publish(900)
            eventually(lambda: stage.usage(0).complete, "both have counted")
            stage.publisher.publish(900)
        stage.publisher.publish(900)
        stage.assert_counted_once()


def test_a_store_that_dies_and_comes_back_empty_is_waited_for(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    plan = RedisPlan(tmp_path / "redis", free_ports(1)[0])
    spec = prepare(plan)
    server = Process(spec, tmp_path / "redis.log")
    try:
        eventually(spec.is_ready, "the store is there")
        with _stage(kafka_bootstrap, plan.url) as stage, stage.counting() as worker:
            stage.publisher.publish(900)
            stage.assert_counted_once()
            server.kill()
            eventually(lambda: "Redis" in worker.store, "the worker says what it waits for")
            stage.publisher.publish(900)
            server = Process(spec, tmp_path / "redis.log")
            eventually(spec.is_ready, "the store is there again")
            stage.assert_counted_once()
            eventually(lambda: not worker.store, "the worker says that it is well")
    finally:
        server.kill()


def test_records_that_kafka_deleted_before_they_were_counted_are_told(stage: Stage) -> None:
    stage.publisher.publish(900)
    admin = KafkaAdminClient(bootstrap_servers=stage.bootstrap)
    admin.delete_records({TopicPartition(stage.topic, 0): 10})
    admin.close()
    with stage.counting():
        stage.publisher.publish(900)
        eventually(lambda: sum(stage.usage(0).lag.values()) == 0, "everything left is counted")
        found = stage.usage(0)
        assert not found.complete
        assert "deleted" in found.reason


def test_cells_of_another_log_wait_for_an_operator_who_may_drop_them(stage: Stage) -> None:
    stage.publisher.publish(900)
    with stage.counting():
        stage.assert_counted_once()
    counted = stage.cells.read(MONTH).months
    with _stage(stage.bootstrap, "redis://127.0.0.1:1/0") as other:
        # The same cells with another log, as after a new installation of Kafka.
        other.client, other.state = stage.client, stage.state
        other.publisher.publish(300)
        assert "another log" in other.usage(0).reason
        with other.counting() as worker:
            eventually(lambda: "another log" in worker.log, "the worker says what it waits for")
            assert stage.cells.read(MONTH).months == counted
            other.cells.drop()
            other.assert_counted_once()
            eventually(lambda: not worker.log, "the worker says that it is well")


def test_the_audit_balances_and_finds_a_second_fate(stage: Stage) -> None:
    stage.publisher.publish(900)
    stage.publisher.publish(900, commit=False)
    stage.publisher.publish(900)
    options = ClientOptions(stage.bootstrap, "test")
    found = audit(options, settled=True, topic=stage.topic)
    assert found.balanced, found
    assert (found.received, found.in_flight, found.first_dispatches) == (1800, 0, 1800)
    doubled = ids.derive(stage.topic, 0, 1, NOON_MS)
    stage.publisher.tell_again(doubled)
    found = audit(options, settled=True, topic=stage.topic)
    assert {fault.kind.value: fault.count for fault in found.faults} == {
        "doubled_final": 1,
        "more_finals_than_received": 1,
    }
    assert found.faults[0].examples == [doubled]


def test_a_recount_names_a_second_final_event_as_the_audit_does(stage: Stage) -> None:
    doubled = ids.derive(stage.topic, 0, 1, NOON_MS)
    with stage.counting():
        stage.publisher.publish(900)
        stage.assert_counted_once()
        stage.publisher.tell_again(doubled)
        assert stage.usage().complete
        report = stage.recount()
    assert not report.agree
    assert report.complete
    (difference,) = report.differences
    counts = difference.recounted, difference.live
    assert (difference.client, difference.counter) == ("shop", "delivered")
    assert counts[1] - counts[0] == 1
    (fault,) = report.faults
    assert (fault.kind.value, fault.count, fault.examples) == ("doubled_final", 1, [doubled])
    found = audit(ClientOptions(stage.bootstrap, "test"), topic=stage.topic)
    assert fault in found.faults


def test_a_topic_deleted_and_created_again_destroys_no_bill(stage: Stage) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stage.bootstrap)
    with stage.counting() as worker:
        stage.publisher.publish(300)
        stage.assert_counted_once()
        admin.delete_topics([stage.topic])
        eventually(lambda: stage.topic not in admin.list_topics(), "the topic is gone")
        ensure_topics(
            KafkaSettings(bootstrap=stage.bootstrap), [TopicPlan(stage.topic, PARTITIONS, {})]
        )
        stage.publisher.close()
        stage.publisher = Publisher(stage.bootstrap, stage.topic)
        stage.publisher.publish(900)
        eventually(lambda: "another log" in worker.log, "the worker says what it waits for")
        found = stage.usage(0)
        assert not found.complete
        assert "another log" in found.reason
        assert [row.billed for row in found.rows] == [100] * 3
        ends = EndsAsker(ClientOptions(stage.bootstrap, "test"), stage.topic)
        present = ends.ask()
        ends.close()
        assert stage.cells.adopt(present.log, MONTH, sorted(present.ends)) != present.log
        eventually(lambda: sum(stage.usage(0).lag.values()) == 0, "the new log is counted")
        found = stage.usage(0)
        assert [row.billed for row in found.rows] == [400] * 3
        assert "their log was replaced" in found.reason
        assert not worker.log
        stage.publisher.close()
    admin.close()
