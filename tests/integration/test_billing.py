"""Billing with a real broker and a real store: counted once, whatever is lost in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.parts.ports import free_ports
from local.parts.redis_server import RedisPlan, prepare
from local.process import Process
from services.billing.core.answer import Row
from tests.support.billing.counting import Counting, open_counting
from tests.support.billing.publisher import MONTH
from tests.support.billing.stage import eventually


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Counting]:
    with open_counting(kafka_bootstrap, redis_url) as found:
        yield found


def test_every_committed_event_is_counted_once(stage: Counting) -> None:
    stage.publisher.publish(900)
    with stage.counting():
        stage.publisher.publish(900, commit=False)
        stage.publisher.publish(900)
        stage.assert_counted_once()
    assert stage.usage(0).rows[0] == Row(
        "bank", "letters", "", billed=600, received=600, delivered=480, bounced=120
    )


def test_the_store_is_emptied_in_the_middle_and_the_workers_started_anew(stage: Counting) -> None:
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
    stage: Counting, suffix: str
) -> None:
    stage.publisher.publish(900)
    with stage.counting():
        stage.assert_counted_once()
    # While nobody counts: a worker may have mended it before the next question.
    stage.client.delete(stage.state + suffix)
    assert not stage.usage(0).complete
    with stage.counting():
        stage.assert_counted_once()
        stage.client.delete(stage.state + suffix)
        stage.assert_counted_once()


def test_a_store_set_back_to_an_older_state_is_counted_on_from_there(stage: Counting) -> None:
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


def test_workers_come_and_go_while_events_come(stage: Counting) -> None:
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
        with open_counting(kafka_bootstrap, plan.url) as stage, stage.counting() as worker:
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
