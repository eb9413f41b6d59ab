"""The relay with a real broker: exactly once, even if members change."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import pytest

from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.kafka_python.positions import known_positions
from shared.stream.relay import NotReady, Relay
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import Watchdog
from shared.topics.names import TopicPlan
from tests.support.patience import PATIENCE_S
from tests.support.stream_topics import (
    create_again,
    eventually,
    member,
    publish,
    publish_until,
    read_all,
)


class RunningRelay:
    def __init__(self, bootstrap: str, name: str, source: str, process: object) -> None:
        options = member(bootstrap, name)
        self.stop = Stop()
        self.consumers: list[StreamConsumer] = []

        def make() -> StreamConsumer:
            self.consumers.append(StreamConsumer(options, f"g.{source}", topics=(source,)))
            return self.consumers[-1]

        self.relay = Relay(
            "ingest",
            make,
            TransactionalProducer(options, f"ingest.{source}", Failpoints.none(), Watchdog()),
            process,  # type: ignore[arg-type]
            Failpoints.none(),
            max_records=50,
        )
        self.thread = threading.Thread(target=self.relay.run, args=(self.stop,), daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


def test_a_relay_copies_each_record_once_while_members_come_and_go(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    source, target = topics

    def process(records: list[Record]) -> list[Output]:
        time.sleep(0.02)
        return [Output(target, record.value) for record in records]

    def feed(relay: Relay) -> None:
        numbers = (Output(source, b"%d" % number) for number in itertools.count(len(wanted)))
        found = publish_until(
            kafka_bootstrap, source, numbers, lambda: relay.status.transactions > 3
        )
        wanted.extend(b"%d" % number for number in range(len(wanted), len(wanted) + found))

    wanted: list[bytes] = []
    first = RunningRelay(kafka_bootstrap, "first", source, process)
    feed(first.relay)
    second = RunningRelay(kafka_bootstrap, "second", source, process)
    feed(second.relay)
    first.end()
    values = read_all(kafka_bootstrap, target, len(wanted))
    second.end()
    assert Counter(values) == Counter(wanted)


def test_a_relay_copies_nothing_twice_when_the_client_jumps_back_by_itself(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # kafka-python does this after a broker restart, if the broker does not know its epoch.
    source, target = topics
    wanted = [b"%d" % number for number in range(400)]
    publish(kafka_bootstrap, source, [Output(source, value) for value in wanted[:200]])
    relay = RunningRelay(
        kafka_bootstrap, "only", source, lambda records: [Output(target, r.value) for r in records]
    )
    eventually(lambda: relay.relay.status.records == 200)
    jump_back(relay.consumers[0])
    publish(kafka_bootstrap, source, [Output(source, value) for value in wanted[200:]])
    values = read_all(kafka_bootstrap, target, len(wanted))
    relay.end()
    assert Counter(values) == Counter(wanted)


def test_a_relay_copies_nothing_twice_when_the_client_jumps_back_before_the_first_record(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # The position gets an epoch when it moves past the marker of a transaction.
    source, target = topics
    wanted = [b"%d" % number for number in range(400)]

    def copy(records: list[Record]) -> list[Output]:
        return [Output(target, record.value) for record in records]

    publish(kafka_bootstrap, source, [Output(source, value) for value in wanted[:200]])
    first = RunningRelay(kafka_bootstrap, "first", source, copy)
    eventually(lambda: first.relay.status.records == 200)
    first.end()
    second = RunningRelay(kafka_bootstrap, "second", source, copy)
    eventually(lambda: bool(second.consumers) and len(second.consumers[0].assignment()) == 4)
    eventually(lambda: len(known_positions(second.consumers[0]._consumer)) == 4)
    time.sleep(1)  # some polls that find nothing
    jump_back(second.consumers[0])
    publish(kafka_bootstrap, source, [Output(source, value) for value in wanted[200:]])
    values = read_all(kafka_bootstrap, target, len(wanted))
    second.end()
    assert Counter(values) == Counter(wanted)


@pytest.mark.parametrize("count", [200, 40], ids=["more than before", "less than before"])
def test_a_relay_reads_a_topic_that_was_created_again_from_its_beginning_and_nothing_twice(
    kafka_bootstrap: str, topics: tuple[str, str], count: int
) -> None:
    # The relay is at work meanwhile, so that it sees nothing of the time between the two topics.
    source, target = topics
    old, new = [b"old %d" % n for n in range(80)], [b"new %d" % n for n in range(count)]
    is_at_work, may_go_on = threading.Event(), threading.Event()

    def copy(records: list[Record]) -> list[Output]:
        if records[-1].value == b"last":
            is_at_work.set()
            may_go_on.wait(PATIENCE_S)
        return [Output(target, record.value) for record in records]

    publish(kafka_bootstrap, source, [Output(source, value) for value in old])
    relay = RunningRelay(kafka_bootstrap, "only", source, copy)
    eventually(lambda: relay.relay.status.records == len(old))
    publish(kafka_bootstrap, source, [Output(source, b"last")])
    assert is_at_work.wait(PATIENCE_S)
    create_again(kafka_bootstrap, source, 4)
    publish(kafka_bootstrap, source, [Output(source, value) for value in new])
    may_go_on.set()
    values = read_all(kafka_bootstrap, target, len(old + new))
    relay.end()
    assert Counter(values) - Counter([b"last"]) == Counter(old + new)


def jump_back(consumer: StreamConsumer) -> None:
    """Let the client read on from the beginning, as if the broker did not know its epoch."""
    subscription = consumer._consumer._subscription
    for partition in consumer.assignment():
        subscription.request_offset_reset(partition)


@pytest.mark.parametrize(
    "fault",
    [
        NotReady("the view is being built"),
        TransactionLost("partitions of a topic: no broker"),
    ],
    ids=["not ready", "the broker could not tell it something"],
)
def test_a_relay_that_cannot_process_a_batch_reads_it_again(
    kafka_bootstrap: str, topics: tuple[str, str], fault: Exception
) -> None:
    source, target = topics
    publish(kafka_bootstrap, source, [Output(source, b"%d" % n) for n in range(10)])
    faults = [fault] * 2

    def process(records: list[Record]) -> list[Output]:
        if faults:
            raise faults.pop()
        return [Output(target, record.value) for record in records]

    relay = RunningRelay(kafka_bootstrap, "only", source, process)
    values = read_all(kafka_bootstrap, target, 10)
    relay.end()
    assert sorted(values) == [b"%d" % n for n in range(10)]


def test_a_restarted_static_member_reads_topics_that_came_while_it_was_away(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # The broker hands a static member its old assignment, and its leadership, unannounced.
    source, target = topics
    pattern = source.replace(".in", r"\.(in|late)$")
    options = member(kafka_bootstrap, "static", static=True)

    def run_until_something_is_read() -> None:
        stop = Stop()
        relay = Relay(
            "ingest",
            lambda: StreamConsumer(options, f"static.{source}", pattern=pattern),
            TransactionalProducer(options, f"static.{source}", Failpoints.none(), Watchdog()),
            lambda records: [Output(target, record.value) for record in records],
            Failpoints.none(),
        )
        thread = threading.Thread(target=relay.run, args=(stop,), daemon=True)
        thread.start()
        eventually(lambda: relay.status.records > 0)
        stop.set()
        thread.join(PATIENCE_S)

    publish(kafka_bootstrap, source, [Output(source, b"early")])
    run_until_something_is_read()
    late = source.replace(".in", ".late")
    ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), [TopicPlan(late, 4, {})])
    publish(kafka_bootstrap, late, [Output(late, b"late")])
    run_until_something_is_read()
    assert sorted(read_all(kafka_bootstrap, target, 2)) == [b"early", b"late"]
