"""Measures the cost of billing an event, from Kafka to the cells, in total and for each part.

One process with one thread does the work. The figures are the CPU time of this process per event.
They do not include the broker and the store, because these run in other processes. The events
resemble real events. One message in three is deferred once, and one event in ten is a bounce.
Events have replies, and a transaction has 1,000 events.

- counting runs only services/billing/core/usage.py, with records from memory;
- reading runs kafka-python with the feed of the billing service, without counting;
- "all" runs the feed, the counting and the store, up to the last event.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any, Final

from msgspec import Struct

from cli.stack import paths
from local.stack import Stack, StackOptions
from services.billing.core.month import Months
from services.billing.core.usage import count
from services.billing.edge.cells import NO_WATERMARK, RedisCells
from services.billing.edge.feed import EventFeed, EventRun
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.apply_cells import Applied, Run
from shared.store.client import connect
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics import ids
from shared.topics.codec import encode_event
from shared.topics.names import TopicPlan
from shared.topics.records import EventType, MailEvent

PARTITIONS: Final = 4
POLL_RECORDS: Final = 10_000
TRANSACTION: Final = 1_000
CLIENTS: Final = 20
MAILINGS: Final = 10
NOON_MS: Final = 1_794_744_000_000
ALL_BAR: Final = 40_000
COUNTING_BAR: Final = 200_000
_TIMEOUT_S: Final = 120.0
_MONTHS: Final = Months(UTC)


class Figure(Struct, frozen=True):
    """The cost of a part: CPU microseconds per event, and events per second of one core."""

    name: str
    us_per_event: float
    events_per_s: int
    bar: int = 0  # The required events per second. 0 means that nothing is required.


class Result(Struct, frozen=True):
    """The figures of one run."""

    events: int
    bytes_per_event: int
    cells: int
    figures: list[Figure]

    @property
    def holds(self) -> bool:
        """Return True if every figure meets its requirement."""
        return all(each.events_per_s >= each.bar for each in self.figures)


def measure(events: int) -> Result:
    """Start a broker and a store, publish the events and count them."""
    folder = paths.run_folder(f"bench-billing-{uuid.uuid4().hex[:6]}")
    stack = Stack(
        StackOptions(name="bench", folder=folder, services=(), sink=False, is_kafka_optimised=True)
    )
    stack.start()
    try:
        return _measured(stack.endpoints.kafka, stack.endpoints.redis, events)
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _measured(bootstrap: str, redis_url: str, events: int) -> Result:
    topic = f"bench.events.{uuid.uuid4().hex[:8]}"
    ensure_topics(KafkaSettings(bootstrap=bootstrap), [TopicPlan(topic, PARTITIONS, {})])
    size = _publish(bootstrap, topic, events)
    read_s, records = _read(bootstrap, topic, events)
    started = time.process_time()
    for begin in range(0, events, POLL_RECORDS):
        count(records[begin : begin + POLL_RECORDS], _MONTHS)
    counting_s = time.process_time() - started
    del records
    all_s, cells = _count_all(bootstrap, redis_url, topic, events)
    figures = [
        _figure("counting", counting_s, events, COUNTING_BAR),
        _figure("reading", read_s, events),
        _figure("all: Kafka to cells", all_s, events, ALL_BAR),
    ]
    return Result(events, size // events, cells, figures)


def _figure(name: str, cpu_s: float, events: int, bar: int = 0) -> Figure:
    return Figure(name, round(cpu_s / events * 1e6, 2), round(events / cpu_s), bar)


def _publish(bootstrap: str, topic: str, events: int) -> int:
    """Publish the events and return their size in bytes."""
    producer = make_producer(ClientOptions(bootstrap, "bench"), f"bench.{topic}")
    producer.init_transactions()
    size = 0
    for begin in range(0, events, TRANSACTION):
        producer.begin_transaction()
        for number in range(begin, min(events, begin + TRANSACTION)):
            key, value, headers = _event(number)
            size += len(key) + len(value) + sum(len(name) + len(text) for name, text in headers)
            producer.send(topic, value, key, headers)
        producer.commit_transaction()
    producer.close()
    return size


def _event(number: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    message, again = divmod(number, 4)  # one message in three has two events
    is_deferred = again == 0
    is_bounced = not is_deferred and number % 10 == 1
    kind = (
        EventType.DEFERRED
        if is_deferred
        else EventType.BOUNCED
        if is_bounced
        else EventType.DELIVERED
    )
    at_ms = NOON_MS + number * 10
    data = MailEvent(
        client=f"client-{message % CLIENTS}",
        mailing_id=f"M-{message % MAILINGS}",
        sub_client="north" if message % 2 else "",
        recipient=f"recipient{number}@example.org",
        message_id=f"<{number:012}.{message:08}@news.example.com>",
        at_ms=at_ms,
        received_at_ms=at_ms - 1_500,
        attempt=1,
        first_dispatch=again != 1,
        first_dispatched_at_ms=at_ms,
        reply="451 4.7.1 Try again later" if is_deferred else "250 2.0.0 Ok: queued as 4Bqz1x2y",
        enhanced="2.0.0",
        bounce_class="hard" if is_bounced else "",
        lane="default",
        site="mx.example.org",
        source="192.0.2.1",
        tls="TLSv1.3",
        size_bytes=10_240,
    )
    return encode_event(kind, ids.derive("bench", 0, number, at_ms), data, "deliver")


def _read(bootstrap: str, topic: str, events: int) -> tuple[float, list[Any]]:
    """Read all events. Return the CPU time of this step, and the records."""
    records: list[Any] = []
    with _feed(bootstrap, topic) as feed:
        started = time.process_time()
        for runs in _runs(feed, events):
            for run in runs:
                records.extend(run.records)
        return time.process_time() - started, records


def _count_all(bootstrap: str, redis_url: str, topic: str, events: int) -> tuple[float, int]:
    """Read and count all events, and add the counts to the store. Return the CPU time of these
    steps, and the number of cells."""
    client = connect(RedisSettings(url=redis_url))
    cells = RedisCells(client, "{bench}:cells")
    marks = dict.fromkeys(range(PARTITIONS), NO_WATERMARK)
    with _feed(bootstrap, topic) as feed:
        log = feed.log_id()
        started = time.process_time()
        for runs in _runs(feed, events):
            for run in runs:
                increments = count(run.records, _MONTHS).increments()
                part = run.partition
                answer = cells.apply(Run(log, part, marks[part], run.target, increments))
                assert isinstance(answer, Applied)
                marks[part] = run.target
        cpu_s = time.process_time() - started
    found = cells.read("2026-11")
    client.close()
    return cpu_s, sum(map(len, found.months.values()))


@contextmanager
def _feed(bootstrap: str, topic: str) -> Iterator[EventFeed]:
    """Return a feed that reads each partition from its beginning."""
    options = ClientOptions(bootstrap, f"bench-{uuid.uuid4().hex[:6]}")
    feed = EventFeed(options, f"g.{uuid.uuid4().hex[:8]}", POLL_RECORDS, topic)
    until = time.monotonic() + _TIMEOUT_S
    try:
        while len(feed.unplaced()) < PARTITIONS or not feed.log_id():
            assert time.monotonic() < until, "the partitions were not assigned"
            feed.poll(100)
        for partition in range(PARTITIONS):
            feed.place(partition, 0)
        yield feed
    finally:
        feed.close()


def _runs(feed: EventFeed, events: int) -> Iterator[Sequence[EventRun]]:
    """Poll and yield runs of records until all events have been read."""
    left, until = events, time.monotonic() + _TIMEOUT_S
    while left > 0:
        assert time.monotonic() < until, f"{left} events did not come"
        runs = feed.poll(200)
        left -= sum(len(run.records) for run in runs)
        yield runs


def described(result: Result) -> str:
    """Return the result as text for people."""
    lines = [
        f"{result.events} events of {result.bytes_per_event} bytes into {result.cells} cells;"
        " CPU time of one core, without the broker and the store",
        "",
    ]
    for each in result.figures:
        bar = f"  (bar {each.bar:,}: {'holds' if each.events_per_s >= each.bar else 'MISSED'})"
        lines.append(
            f"{each.name:22} {each.us_per_event:7.2f} us per event {each.events_per_s:10,} per s"
            + (bar if each.bar else "")
        )
    return "\n".join(lines)
