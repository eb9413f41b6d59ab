"""The worker with a real broker: out of order, each once, even if members change."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from zlib import crc32

import pytest

from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream import outputs
from shared.stream.client import ClientOptions
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Handler, Job, Limits
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.stream.worker import Worker
from shared.topics import ids
from shared.topics.records import Message
from tests.support.patience import PATIENCE_S
from tests.support.running_worker import RunningWorker, ids_of_pack, pack_of
from tests.support.stream_topics import envelope, eventually, publish, publish_until, read_all

PACKS = 47


@pytest.fixture
def mail_ids(kafka_bootstrap: str, topics: tuple[str, str]) -> list[str]:
    source, _ = topics
    publish(kafka_bootstrap, source, [pack_of(source, number) for number in range(PACKS)])
    return [mail_id for number in range(PACKS) for mail_id in ids_of_pack(number)]


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
    stuck = {mail_id for mail_id in mail_ids if crc32(mail_id.encode()) % 7 == 0}
    first = RunningWorker(kafka_bootstrap, "same", source, target)
    first.hold_back = lambda job: job.message.envelope.mail_id in stuck
    eventually(lambda: 200 < first.worker.status.settled == len(first.attempted))
    first.end()
    settled = set(first.attempted)
    second = RunningWorker(kafka_bootstrap, "same", source, target)
    values = read_all(kafka_bootstrap, target, len(mail_ids))
    second.end()
    assert Counter(values) == Counter(mail_id.encode() for mail_id in mail_ids)
    assert not settled & set(second.attempted)


def waiting_worker(bootstrap: str, source: str) -> Worker:
    options = ClientOptions(bootstrap, "due")
    return Worker(
        "deliver",
        lambda: StreamConsumer(options, f"due.{source}", topics=(source,), keeps_claims=True),
        TransactionalProducer(options, f"due.{source}", Failpoints.none(), Watchdog()),
        Failpoints.none(),
        Limits(),
    )


def test_a_worker_waits_with_each_pack_until_it_is_due_and_forgets_none(
    kafka_bootstrap: str, topics: tuple[str, str]
) -> None:
    # Pausing and resuming this often could leave a partition parked inside kafka-python.
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
    worker = waiting_worker(kafka_bootstrap, source)
    stop = Stop()
    early: list[str] = []

    def hand_out(jobs: list[Job]) -> None:
        for job in jobs:
            mail_id = job.message.envelope.mail_id
            job.begin()
            if time.time() * 1000 < due_ms[mail_id]:
                early.append(mail_id)
            worker.settle(job, [Output(target, mail_id.encode())])

    handler = Handler(
        hand_out,
        lambda record, reason: [],
        lambda messages: max(m.envelope.due_at_ms for m in messages),
    )
    thread = threading.Thread(target=worker.run, args=(stop, handler), daemon=True)
    thread.start()
    values = read_all(kafka_bootstrap, target, len(due_ms))
    stop.set()
    thread.join(PATIENCE_S)
    assert Counter(values) == Counter(mail_id.encode() for mail_id in due_ms)
    assert early == []
