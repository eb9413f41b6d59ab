"""Fault: the broker stops in the middle of the traffic and restarts with its data."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from kafka.structs import TopicPartition

from cli.stack.paths import SERVICES
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_consumer, make_producer
from shared.stream.kafka_python.producing import discard
from shared.topics.names import TopicPlan
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.stage import MAX_IN_FLIGHT, Run, Stage
from tests.support.patience import PATIENCE_S
from tests.support.pausing import paused
from tests.support.smtp_peers import wait_until

MESSAGES = 5_000
RATE_PER_S = 1_000
AWAY_S = 31.0
# The Kafka client drops a record that it could not write for two minutes.
LONG_AWAY_S = 150.0
# A step that waits for Kafka may take 90 s.
STILL_S = 110.0
# Twice the session of a member, which is 10 s.
PAUSED_S = 20.0
# A member learns by its next heartbeat, or by the answer to its next commit, that it was removed.
TOLD_S = 30.0
LOOK_S = 0.25
MOST_PAUSES = 4
LOST = "sluice_stream_lost_memberships"
ACROSS = "test.across"
STOPPED = "test.stopped"
COMMIT_AWAY_S = 3.0


def test_a_broker_away_for_thirty_seconds_loses_nothing_and_sends_nothing_twice(
    stage: Stage, one_seed: int
) -> None:
    begun = begin_a_transaction(stage.bootstrap, ACROSS)
    take_the_broker_away(stage, f"broker-{one_seed}", one_seed, AWAY_S)
    # A commit by the successor of a producer must not make aborted records visible.
    begun.close(timeout=0)
    assert committed_by_a_successor(stage.bootstrap) == [b"second"]


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_broker_away_for_longer_than_records_are_kept_loses_nothing(
    stage: Stage, seed: int
) -> None:
    take_the_broker_away(stage, f"broker-long-{seed}", seed, LONG_AWAY_S)


def test_a_broker_that_is_paused_for_longer_than_a_session_sends_nothing_twice(
    stage: Stage, one_seed: int
) -> None:
    run = stage.open_run(f"broker-paused-{one_seed}", one_seed)
    pause_the_broker(stage, run, PAUSED_S)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_broker_that_stands_still_for_longer_than_a_step_may_take_ends_no_process(
    stage: Stage, seed: int, processes: int
) -> None:
    # The broker accepts connections during this time, so the watchdog counts the time.
    fleet = Fleet(stage)
    run = stage.open_run(f"broker-still-{processes}-{seed}", seed)
    if processes > 1:
        # A partition may move to the other process, which does not know the messages in flight.
        run.copies_bound = processes * MAX_IN_FLIGHT
    before = {name: stage.stack.process(name).pid for name in SERVICES}
    try:
        fleet.grow(["deliver"], processes)
        stage.wait_for(run, lambda: fleet.has_partitions("deliver", processes), PATIENCE_S)
        pause_the_broker(stage, run, STILL_S)
    finally:
        fleet.reset()
    assert {name: stage.stack.process(name).pid for name in SERVICES} == before


def pause_the_broker(stage: Stage, run: Run, seconds: float) -> None:
    """Pause the broker in the middle of the traffic of a run, and judge the run.

    When the broker continues, the sessions of the members have expired. But the broker may read a
    heartbeat that waits in a socket before it checks its timers. Then the broker is paused again.
    """
    fleet = Fleet(stage)
    lost_before = fleet.metric("deliver", LOST)
    injector = run.inject(MESSAGES, RATE_PER_S)
    injector.wait_for(MESSAGES // 3, timeout_s=PATIENCE_S)
    for _ in range(MOST_PAUSES):
        with paused(stage.stack.process("kafka").pid):
            time.sleep(seconds)  # the fault itself, not a wait for a condition
        stage.stack.wait_ready("kafka")
        if has_lost_membership(stage, run, lost_before):
            break
    else:
        pytest.fail(f"the broker removed no member in {MOST_PAUSES} pauses of {seconds:.0f} s")
    stage.finish(run, injector)


def has_lost_membership(stage: Stage, run: Run, before: float) -> bool:
    """Return True if deliver notices within TOLD_S that the broker has removed it."""
    fleet, until = Fleet(stage), time.monotonic() + TOLD_S
    while (lost := fleet.metric("deliver", LOST)) <= before and time.monotonic() < until:
        stage.look_after_parts(run)
        time.sleep(LOOK_S)
    return lost > before


def take_the_broker_away(stage: Stage, name: str, seed: int, away_s: float) -> None:
    """Stop the broker in the middle of the traffic of a run, and judge the run."""
    run = stage.open_run(name, seed)
    injector = run.inject(MESSAGES, RATE_PER_S)
    injector.wait_for(MESSAGES // 3, timeout_s=PATIENCE_S)
    stage.stack.stop_part("kafka")
    time.sleep(away_s)  # the fault itself, not a wait for a condition
    stage.restart("kafka")
    stage.stack.wait_ready("kafka")
    stage.finish(run, injector)


def begin_a_transaction(bootstrap: str, topic: str) -> Any:
    """Return a producer whose record is in Kafka and whose transaction stays open."""
    ensure_topics(KafkaSettings(bootstrap=bootstrap), [TopicPlan(topic, 1, {})])
    producer = make_producer(ClientOptions(bootstrap, topic), topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"first", partition=0)
    producer.flush()
    return producer


def committed_by_a_successor(bootstrap: str) -> list[bytes]:
    """Return the records that a read_committed reader sees after a successor's transaction."""
    producer = make_producer(ClientOptions(bootstrap, ACROSS), ACROSS)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(ACROSS, b"second", partition=0)
    producer.commit_transaction()
    producer.close()
    consumer = make_consumer(ClientOptions(bootstrap, ACROSS), None, fetch_min_bytes=1)
    partition = TopicPartition(ACROSS, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    seen: list[bytes] = []

    def has_come() -> bool:
        seen.extend(r.value for part in consumer.poll(timeout_ms=200).values() for r in part)
        return b"second" in seen

    try:
        wait_until(has_come, "the successor's record is seen")
    finally:
        consumer.close(autocommit=False)
    return seen


def test_a_commit_that_the_broker_went_away_from_is_finished_once_it_is_back(stage: Stage) -> None:
    # The connection to the coordinator is lost, but the request must not be (kafka-python 3.0.12).
    producer = begin_a_transaction(stage.bootstrap, STOPPED)
    stage.stack.stop_part("kafka")
    # The thread is a daemon, because without the fix it never ends.
    committing = threading.Thread(target=producer.commit_transaction, daemon=True)
    committing.start()
    time.sleep(COMMIT_AWAY_S)  # the fault itself, not a wait for a condition
    assert committing.is_alive()
    stage.restart("kafka")
    stage.stack.wait_ready("kafka")
    committing.join(PATIENCE_S)
    assert not committing.is_alive(), "the commit waits for ever"
    discard(producer)
