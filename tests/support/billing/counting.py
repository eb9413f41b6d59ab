"""A topic of events, a store of cells and workers that count, for one test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC

import redis
from msgspec import Struct

from services.billing.core.answer import Usage
from services.billing.core.month import Months
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
from shared.topics.names import TopicPlan
from tests.support.billing.publisher import MONTH, Publisher
from tests.support.billing.stage import eventually, running
from tests.support.patience import PATIENCE_S
from tests.support.stream_topics import member

PARTITIONS = 3


class Counting(Struct):
    """A topic, a store and a group."""

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
        """Yield a worker that counts during the block and then stops gracefully."""
        self.workers += 1
        options = member(self.bootstrap, f"billing-{self.workers}")
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

    def has_caught_up(self) -> bool:
        """Return whether the end of the log is known, and all records before it are counted."""
        behind = self.usage(0).lag
        return bool(behind) and not any(behind.values())

    def recount(self) -> RecountReport:
        with EventLog(ClientOptions(self.bootstrap, "test"), self.topic) as log:
            return recount(log, self.cells, Months(UTC))

    def assert_counted_once(self) -> None:
        # A single request to Kafka waits for at most a minute.
        eventually(lambda: self.usage().complete, "everything is counted")
        found = self.usage()
        assert found.complete, found.reason
        messages = self.publisher.messages
        assert [row.billed for row in found.rows] == [messages // 3] * 3
        assert [row.received for row in found.rows] == [messages // 3] * 3
        assert sum(row.delivered + row.bounced for row in found.rows) == messages
        report = self.recount()
        assert report.agree, report


@contextmanager
def open_counting(bootstrap: str, redis_url: str) -> Iterator[Counting]:
    name = uuid.uuid4().hex[:12]
    topic = f"test.events.{name}"
    ensure_topics(KafkaSettings(bootstrap=bootstrap), [TopicPlan(topic, PARTITIONS, {})])
    with ExitStack() as stack:
        client = connect(RedisSettings(url=redis_url))
        stack.callback(client.close)
        publisher = Publisher(bootstrap, topic)
        stack.callback(publisher.close)
        yield Counting(bootstrap, topic, client, f"{{test:{name}}}:cells", publisher)
