"""Fault: the broker is unavailable for longer than the Kafka client keeps an unwritten record.

The library then drops the record and commits the rest of the transaction. So input records were
treated as processed although their output was lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

import pytest
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.runtime.failpoints import Failpoints
from shared.settings.sections import KafkaSettings
from shared.stream import transactions
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_consumer, make_producer
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import watchdog_of
from shared.topics.names import TopicPlan
from tests.support.chaos.stage import Stage
from tests.support.stream_topics import eventually, read_all, repeat_lost

SERVICE = "test-expired"
TOPICS = ("test.expired.one", "test.expired.two")
READ = TopicPartition("test.expired.read", 0)
# How long the client collects records, waits for a response, and keeps a record. In production
# these times are 20 ms, 15 s and two minutes.
LINGER_MS, REQUEST_MS, KEPT_MS = 2_000, 1_000, 3_500
# In this time the transaction adds its partitions at the broker; the records are not sent yet.
BEGUN_S = 0.5
AWAY_S = 6.0


class KillOnce(Failpoints):
    """Kills the broker before the first records are sent, and starts it again later."""

    def __init__(self, stage: Stage) -> None:
        super().__init__({})
        self._stage = stage
        self._return = threading.Timer(AWAY_S, lambda: stage.restart("kafka"))
        self._is_done = False

    def hit(self, name: str) -> None:
        if name == f"{SERVICE}.produced" and not self._is_done:
            self._is_done = True
            time.sleep(BEGUN_S)
            self._stage.kill("kafka")
            self._return.start()


@pytest.fixture
def producer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[TransactionalProducer]:
    quick = partial(
        make_producer,
        linger_ms=LINGER_MS,
        request_timeout_ms=REQUEST_MS,
        delivery_timeout_ms=KEPT_MS,
    )
    monkeypatch.setattr(transactions, "make_producer", quick)
    options = ClientOptions(stage.bootstrap, SERVICE)
    # Without this watchdog, the time without the broker would count: a minute on a busy machine.
    watchdog = watchdog_of(options)
    made = TransactionalProducer(options, SERVICE, KillOnce(stage), watchdog, None, TOPICS)
    yield made
    made.close()


def test_a_record_that_was_not_written_in_time_takes_the_offsets_with_it(
    stage: Stage, producer: TransactionalProducer
) -> None:
    plans = [TopicPlan(name, 1, {}) for name in (*TOPICS, READ.topic)]
    ensure_topics(KafkaSettings(bootstrap=stage.bootstrap), plans)
    outputs = [Output(topic, topic.encode()) for topic in TOPICS]
    with closing(make_consumer(ClientOptions(stage.bootstrap, SERVICE), SERVICE)) as consumer:
        commit = partial(
            producer.commit,
            outputs,
            {READ: OffsetAndMetadata(7, "", -1)},
            consumer.group_metadata(),
        )
        # With these short times a busy machine may need several starts.
        repeat_lost(producer.open)
        with pytest.raises(TransactionLost):
            commit()
        stage.stack.wait_ready("kafka")
        repeat_lost(producer.open)  # This commits or aborts the lost transaction.
        assert consumer.committed(READ) is None

        def has_committed() -> bool:
            with suppress(TransactionLost):
                commit()
            repeat_lost(producer.open)  # The lost commit may have succeeded.
            return consumer.committed(READ) is not None

        eventually(has_committed)
        assert consumer.committed(READ) == 7
    for topic in TOPICS:
        assert read_all(stage.bootstrap, topic, 1) == [topic.encode()]
