"""Held mail is swept by several processes: each record passes once, and what must wait stays."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from services.validate.core.quotas import QuotaUse
from services.validate.edge.held.sweeper import HeldSweeper, SweeperParts
from shared.registry.client import Client, OverQuota
from shared.runtime.clock import SystemClock
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.stream.consumer import Record, StreamConsumer
from shared.stream.relay import NotReady, Process, Relay
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.watchdog import Watchdog
from shared.topics.names import TopicPlan
from shared.topics.quotas import QuotaBeat, QuotaScope, QuotaState
from tests.support.patience import PATIENCE_S
from tests.support.stream_topics import eventually, read_all

HELD = 40
ALWAYS = 1 << 60
CLIENT = Client(
    "shop",
    "a.example",
    "b@c.example",
    "news",
    monthly_quota=10,
    over_quota=OverQuota.HOLD,
)


class Known:
    """What billing is said to have counted."""

    used = 10
    is_ready = True

    def ready(self) -> bool:
        return self.is_ready

    def state(self, scope: QuotaScope) -> QuotaState | None:
        return QuotaState("2026-11", 0, ALWAYS, 10, self.used)

    def beat(self) -> QuotaBeat | None:
        return QuotaBeat("2026-11", 0, ALWAYS, 0)


class Sweeping:
    """The topics, and what the processes see and do."""

    def __init__(self, bootstrap: str) -> None:
        name = uuid.uuid4().hex[:12]
        self.bootstrap, self.group = bootstrap, f"g.{name}"
        self.held, self.passed = f"test.held.{name}", f"test.passed.{name}"
        plans = [TopicPlan(self.held, 1, {}), TopicPlan(self.passed, 1, {})]
        ensure_topics(KafkaSettings(bootstrap=bootstrap), plans)
        self.known = Known()
        self.judged: Counter[bytes] = Counter()
        self.is_failing = False

    def judge(self, records: Sequence[Record]) -> list[Output]:
        """The first half may pass once the quota is free; the rest goes on waiting."""
        if self.is_failing:
            self.is_failing = False
            raise NotReady("something is missing")
        outputs = []
        for record in records:
            self.judged[record.value or b""] += 1
            is_free = self.known.used < 10 and int(record.value or b"") < HELD // 2
            topic = self.passed if is_free else self.held
            outputs.append(Output(topic, record.value, partition=0))
        return outputs

    @contextmanager
    def process(self) -> Iterator[None]:
        """A validate process that sweeps meanwhile."""
        options = ClientOptions(self.bootstrap, f"p-{uuid.uuid4().hex[:6]}")

        def relay(limited: Callable[[Process], Process]) -> Relay:
            return Relay(
                "held",
                lambda: StreamConsumer(options, self.group, topics=(self.held,)),
                TransactionalProducer(options, "held", Failpoints.none(), Watchdog()),
                limited(self.judge),
                Failpoints.none(),
                max_records=7,
            )

        sweeper = HeldSweeper(
            SweeperParts(
                options=options,
                group=self.group,
                clients=lambda: [CLIENT],
                is_ready=lambda: True,
                use=QuotaUse(self.known),
                clock=SystemClock(),
                relay=relay,
                topic=self.held,
                again_s=0.1,
            )
        )
        stop = Stop()
        thread = threading.Thread(target=sweeper.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@pytest.fixture
def sweeping(kafka_bootstrap: str) -> Sweeping:
    return Sweeping(kafka_bootstrap)


def test_what_is_free_passes_once_and_what_is_not_stays(sweeping: Sweeping) -> None:
    options = ClientOptions(sweeping.bootstrap, "test")
    producer = TransactionalProducer(options, "validate", Failpoints.none(), Watchdog())
    for number in range(HELD):
        producer.commit([Output(sweeping.held, b"%d" % number, partition=0)])
    producer.close()
    everything = Counter(b"%d" % number for number in range(HELD))
    with sweeping.process(), sweeping.process():
        # What was held while no process ran is looked at once, and all of it goes on waiting.
        eventually(lambda: sweeping.judged.keys() == everything.keys())
        sweeping.is_failing = True
        sweeping.known.used = 0
        passed = read_all(sweeping.bootstrap, sweeping.passed, HELD // 2)
    assert Counter(passed) == Counter(b"%d" % number for number in range(HELD // 2))
    # Nothing was swept without a reason: that would judge what waits again and again.
    assert max(sweeping.judged.values()) <= 8
