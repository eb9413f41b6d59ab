"""The worker against a real broker: out of order, each once, also when members change."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
import uvloop

from shared.runtime.lifecycle import Stop
from shared.stream import outputs
from shared.stream.client import ClientOptions
from shared.stream.consumer import StreamConsumer
from shared.stream.failpoints import Failpoints
from shared.stream.jobs import Job, Limits
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.stream.worker import Worker
from shared.topics import ids
from shared.topics.codec import PACK_MAX_MESSAGES
from shared.topics.records import Message
from tests.integration.stream_topics import (
    PATIENCE_S,
    envelope,
    eventually,
    publish,
    publish_until,
    read_all,
)

PACKS = 47


class RunningWorker:
    """A worker with a loop of its own whose handler waits a little for each message."""

    def __init__(self, bootstrap: str, name: str, source: str, target: str) -> None:
        options = ClientOptions(bootstrap, name, static=True)
        self.stop = Stop()
        self.target = target
        self.attempted: list[str] = []
        self.hold_back: Callable[[Job], bool] = lambda job: False
        self.worker = Worker(
            "deliver",
            lambda heard: StreamConsumer(options, f"g.{source}", heard, topics=(source,)),
            TransactionalProducer(options, f"deliver.{source}", Failpoints.none(), Watchdog()),
            Failpoints.none(),
            Limits(max_in_flight=500, commit_messages=100, drain_timeout_s=20),
        )
        self.loop = uvloop.new_event_loop()
        self.loop_thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.loop_thread.start()
        self.thread = threading.Thread(
            target=self.worker.run,
            args=(self.stop, self.hand_out, lambda record, reason: [], lambda messages: 0),
            daemon=True,
        )
        self.thread.start()

    def hand_out(self, jobs: list[Job]) -> None:
        self.loop.call_soon_threadsafe(
            lambda: [self.loop.create_task(self.attempt(job)) for job in jobs]
        )

    async def attempt(self, job: Job) -> None:
        await asyncio.sleep(0.001 * (hash(job.message.envelope.mail_id) % 50))
        if self.hold_back(job) or not job.begin():
            return
        mail_id = job.message.envelope.mail_id
        self.attempted.append(mail_id)
        await asyncio.sleep(0.02)
        self.worker.settle(job, [Output(self.target, mail_id.encode())])

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.loop_thread.join()


@pytest.fixture
def mail_ids(kafka_bootstrap: str, topics: tuple[str, str]) -> list[str]:
    source, _ = topics
    publish(kafka_bootstrap, source, [pack_of(source, number) for number in range(PACKS)])
    return [mail_id for number in range(PACKS) for mail_id in ids_of_pack(number)]


def ids_of_pack(number: int) -> list[str]:
    first = number * PACK_MAX_MESSAGES
    return [ids.encode(first + index) for index in range(PACK_MAX_MESSAGES)]


def pack_of(topic: str, number: int) -> Output:
    messages = [Message(envelope(mail_id), b"x" * 100) for mail_id in ids_of_pack(number)]
    return outputs.pack(topic, messages)


def test_a_worker_settles_each_message_once_and_attempts_none_twice_when_members_change(
    kafka_bootstrap: str, topics: tuple[str, str], mail_ids: list[str]
) -> None:
    source, target = topics
    first = RunningWorker(kafka_bootstrap, "first", source, target)
    eventually(lambda: first.worker.status.settled > 100)
    second = RunningWorker(kafka_bootstrap, "second", source, target)
    more = (pack_of(source, number) for number in itertools.count(PACKS))
    published = publish_until(
        kafka_bootstrap, source, more, lambda: second.worker.status.settled > 100
    )
    mail_ids += [i for number in range(PACKS, PACKS + published) for i in ids_of_pack(number)]
    first.end()
    values = read_all(kafka_bootstrap, target, len(mail_ids))
    second.end()
    assert Counter(values) == Counter(mail_id.encode() for mail_id in mail_ids)
    assert Counter(first.attempted + second.attempted) == Counter(mail_ids)


def test_a_successor_attempts_again_only_what_was_not_settled(
    kafka_bootstrap: str, topics: tuple[str, str], mail_ids: list[str]
) -> None:
    source, target = topics
    stuck = {mail_id for mail_id in mail_ids if hash(mail_id) % 7 == 0}
    first = RunningWorker(kafka_bootstrap, "same", source, target)
    first.hold_back = lambda job: job.message.envelope.mail_id in stuck
    eventually(lambda: first.worker.status.settled > 200 and not first.worker._settled)
    first.end()
    settled = set(first.attempted)
    second = RunningWorker(kafka_bootstrap, "same", source, target)
    values = read_all(kafka_bootstrap, target, len(mail_ids))
    second.end()
    assert Counter(values) == Counter(mail_id.encode() for mail_id in mail_ids)
    assert not settled & set(second.attempted)


def test_a_worker_waits_with_each_pack_until_it_is_due_and_forgets_none(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # Pausing and resuming this often once left a partition parked inside kafka-python.
    source, target = topics
    now_ms = int(time.time() * 1000)
    due_ms = {ids.encode(n): now_ms + 300 + (n * 7919) % 2_500 for n in range(120)}
    publish(
        kafka_bootstrap,
        source,
        [
            outputs.pack(source, [Message(envelope(mail_id, due), b"late")])
            for mail_id, due in due_ms.items()
        ],
    )
    options = ClientOptions(kafka_bootstrap, "due")
    worker = Worker(
        "deliver",
        lambda heard: StreamConsumer(options, f"due.{source}", heard, topics=(source,)),
        TransactionalProducer(options, f"due.{source}", Failpoints.none(), Watchdog()),
        Failpoints.none(),
        Limits(),
    )
    stop = Stop()
    early: list[str] = []

    def hand_out(jobs: list[Job]) -> None:
        for job in jobs:
            mail_id = job.message.envelope.mail_id
            job.begin()
            if time.time() * 1000 < due_ms[mail_id]:
                early.append(mail_id)
            worker.settle(job, [Output(target, mail_id.encode())])

    thread = threading.Thread(
        target=worker.run,
        args=(
            stop,
            hand_out,
            lambda record, reason: [],
            lambda messages: max(m.envelope.not_before_ms for m in messages),
        ),
        daemon=True,
    )
    thread.start()
    values = read_all(kafka_bootstrap, target, len(due_ms))
    stop.set()
    thread.join(PATIENCE_S)
    assert Counter(values) == Counter(mail_id.encode() for mail_id in due_ms)
    assert early == []
