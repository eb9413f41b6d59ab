"""A topic of events, a topic of statements and a store of cells for one test of billing."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.structs import TopicPartition
from msgspec import Struct

from services.billing.core.month import Months
from services.billing.edge.cells import Cells, RedisCells
from services.billing.edge.log_ends import EndsAsker
from services.billing.edge.metrics import BillingMetrics
from services.billing.edge.recounting import RecountReport, recount
from services.billing.edge.statements.checkpointing import Checkpointer, restore
from services.billing.edge.statements.closing import Closer, ClosingParts
from services.billing.edge.statements.topic import StatementTopic
from services.billing.edge.worker import Worker, WorkerParts
from shared.audit.event_log import EventLog
from shared.runtime.clock import FakeClock, SystemClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.runtime.telemetry import Counters
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.read_cells import ALL_MONTHS
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.topics.codec import encode_event
from shared.topics.configs import state
from shared.topics.ids import derive
from shared.topics.names import TopicPlan
from shared.topics.records import EventType, MailEvent
from tests.support.patience import PATIENCE_S

UTC_MONTHS: Final = Months(UTC)
PARTITIONS: Final = 2
OCTOBER_MS: Final = 1_792_065_600_000  # 2026-10-15T12:00Z
NOVEMBER_MS: Final = 1_794_744_000_000  # 2026-11-15T12:00Z
DECEMBER_5_MS: Final = 1_796_472_000_000
JANUARY_5_MS: Final = 1_799_150_400_000


def eventually(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, f"waited too long until {what}"
        time.sleep(0.05)


@contextmanager
def running(worker: Worker) -> Iterator[None]:
    """Run a worker in a thread, which stops gracefully at the end."""
    stop = Stop()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class Stage(Struct):
    """The topics, the store and the settings that one test of billing uses."""

    bootstrap: str
    topic: str
    statements: str
    store: Any  # the Redis client
    state: str
    producer: Any
    clock: FakeClock
    sent: int = 0
    other_cells: Cells | None = None  # instead of those in Redis
    acknowledged: dict[int, int] = {}  # the end of each partition, as Kafka has acknowledged it

    @property
    def options(self) -> ClientOptions:
        return ClientOptions(self.bootstrap, "test")

    @property
    def cells(self) -> Cells:
        return self.other_cells or RedisCells(self.store, self.state)

    def publish(self, number: int, at_ms: int, **fields: Any) -> None:
        """Publish delivered events that are billed."""
        sent = []
        for _ in range(number):
            self.sent += 1
            mail_id = derive(self.topic, 0, self.sent, at_ms)
            data = MailEvent(
                "shop",
                "news",
                at_ms=at_ms,
                first_dispatch=True,
                first_dispatched_at_ms=at_ms,
                **fields,
            )
            key, value, headers = encode_event(EventType.DELIVERED, mail_id, data, "deliver")
            sent.append(self.producer.send(self.topic, value, key, headers))
        self._wait(sent)

    def _wait(self, sent: list[Any]) -> None:
        """Wait until Kafka has acknowledged these records. Raises KafkaError."""
        self.producer.flush()
        for each in sent:
            found = each.get(PATIENCE_S)
            known = self.acknowledged.get(found.partition, 0)
            self.acknowledged[found.partition] = max(known, found.offset + 1)

    def publish_raw(
        self, value: bytes, headers: list[tuple[str, bytes]], key: bytes = b"key"
    ) -> None:
        """Publish any record."""
        self._wait([self.producer.send(self.topic, value, key, headers)])

    @contextmanager
    def counting(self) -> Iterator[Worker]:
        """Yield a worker that counts during the block, and restores lost cells."""
        counters = Counters("billing")
        worker = Worker(
            WorkerParts(
                options=ClientOptions(self.bootstrap, f"billing-{uuid.uuid4().hex[:6]}"),
                group=f"g.{self.topic}",
                poll_records=500,
                cells=self.cells,
                months=Months(UTC),
                clock=SystemClock(),
                failpoints=Failpoints.none(),
                metrics=BillingMetrics(counters),
                topic=self.topic,
                restore=self._restore,
            )
        )
        with closing(counters), running(worker):
            yield worker

    def count_all(self) -> None:
        """Count until everything that was published is counted."""
        with self.counting(), self.ends() as ends:
            asked = ends.ask().ends
            known = self.acknowledged
            marks = {part: max(end, known.get(part, 0)) for part, end in asked.items()}
            eventually(
                lambda: all(
                    self.cells.read().watermarks.get(part, 0) >= end for part, end in marks.items()
                ),
                "everything is counted",
            )

    def billed(self) -> dict[str, int]:
        """Return the number of billed messages by month."""
        found = self.cells.read(ALL_MONTHS)
        assert found.whole
        return {
            month: sum(number for name, number in cells.items() if '"billed"' in name)
            for month, cells in sorted(found.months.items())
        }

    @contextmanager
    def ends(self) -> Iterator[EndsAsker]:
        asker = EndsAsker(self.options, self.topic)
        try:
            yield asker
        finally:
            asker.close()

    @contextmanager
    def statement_topic(self, *, keeps_cells: bool = False) -> Iterator[StatementTopic]:
        topic = StatementTopic(self.options, self.statements, keeps_cells=keeps_cells)
        try:
            yield topic
        finally:
            topic.close()

    @contextmanager
    def closer(self, **changes: Any) -> Iterator[Closer]:
        """Yield a closer with separate connections, as in a separate process."""
        with self.ends() as ends, self.statement_topic() as topic:
            parts = {
                "cells": self.cells,
                "topic": topic,
                "ends": ends,
                "months": Months(UTC),
                "time_zone": "UTC",
                "clock": self.clock,
                "failpoints": Failpoints.none(),
            }
            yield Closer(ClosingParts(**{**parts, **changes}))

    def checkpoint(self) -> bool:
        with self.statement_topic() as topic:
            return Checkpointer(self.cells, topic, self.clock, Failpoints.none()).write()

    def delete_events(self, below: int) -> None:
        """Delete the beginning of every partition from Kafka, as retention does."""
        with self.ends() as ends:
            marks = ends.ask().ends
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.delete_records(
            {TopicPartition(self.topic, part): min(below, end) for part, end in marks.items()}
        )
        admin.close()

    def recount(self) -> RecountReport:
        with EventLog(self.options, self.topic) as log:
            return recount(log, self.cells, Months(UTC))

    def _restore(self) -> bool:
        with self.statement_topic(keeps_cells=True) as topic:
            return restore(self.cells, topic)


@contextmanager
def open_stage(bootstrap: str, redis_url: str) -> Iterator[Stage]:
    name = uuid.uuid4().hex[:12]
    topic, statements = f"test.events.{name}", f"test.statements.{name}"
    plans = [TopicPlan(topic, PARTITIONS, {}), TopicPlan(statements, 1, state(8 * 1024 * 1024))]
    ensure_topics(KafkaSettings(bootstrap=bootstrap), plans)
    with ExitStack() as stack:
        store = connect(RedisSettings(url=redis_url))
        stack.callback(store.close)
        producer = make_producer(ClientOptions(bootstrap, "test"), None)
        stack.callback(producer.close)
        clock = FakeClock(DECEMBER_5_MS)
        yield Stage(bootstrap, topic, statements, store, f"{{test:{name}}}:cells", producer, clock)
