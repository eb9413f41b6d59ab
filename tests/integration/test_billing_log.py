"""What billing, recount and audit say of a log that is cut, replaced, or has a mail twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from cli.audit.command import audit
from services.billing.edge.log_ends import EndsAsker
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.topics import ids
from shared.topics.names import TopicPlan
from tests.support.billing.counting import PARTITIONS, Counting, open_counting
from tests.support.billing.publisher import MONTH, NOON_MS, Publisher
from tests.support.billing.stage import eventually


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Counting]:
    with open_counting(kafka_bootstrap, redis_url) as found:
        yield found


def test_records_that_kafka_deleted_before_they_were_counted_are_told(stage: Counting) -> None:
    stage.publisher.publish(900)
    admin = KafkaAdminClient(bootstrap_servers=stage.bootstrap)
    admin.delete_records({TopicPartition(stage.topic, 0): 10})
    admin.close()
    with stage.counting():
        stage.publisher.publish(900)
        eventually(stage.has_caught_up, "everything left is counted")
        found = stage.usage(0)
        assert not found.complete
        assert "deleted" in found.reason


def test_cells_of_another_log_wait_for_an_operator_who_may_drop_them(stage: Counting) -> None:
    stage.publisher.publish(900)
    with stage.counting():
        stage.assert_counted_once()
    counted = stage.cells.read(MONTH).months
    with open_counting(stage.bootstrap, "redis://127.0.0.1:1/0") as other:
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


def test_the_audit_balances_and_finds_a_second_fate(stage: Counting) -> None:
    stage.publisher.publish(900)
    stage.publisher.publish(900, commit=False)
    stage.publisher.publish(900)
    options = ClientOptions(stage.bootstrap, "test")
    found = audit(options, settled=True, topic=stage.topic, returned=None)
    assert found.balanced, found
    assert (found.received, found.waiting, found.first_dispatches) == (1800, 0, 1800)
    doubled = ids.derive(stage.topic, 0, 1, NOON_MS)
    stage.publisher.tell_again(doubled)
    found = audit(options, settled=True, topic=stage.topic, returned=None)
    assert {fault.kind.value: fault.count for fault in found.faults} == {
        "doubled_final": 1,
        "more_finals_than_received": 1,
    }
    assert found.faults[0].examples == [doubled]


def test_a_recount_names_a_second_final_event_as_the_audit_does(stage: Counting) -> None:
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
    found = audit(ClientOptions(stage.bootstrap, "test"), topic=stage.topic, returned=None)
    assert fault in found.faults


def test_a_topic_deleted_and_created_again_destroys_no_bill(stage: Counting) -> None:
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
        eventually(stage.has_caught_up, "the new log is counted")
        found = stage.usage(0)
        assert [row.billed for row in found.rows] == [400] * 3
        assert "their log was replaced" in found.reason
        assert not worker.log
        stage.publisher.close()
    admin.close()
