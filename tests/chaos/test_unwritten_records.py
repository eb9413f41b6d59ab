"""Fault: a broker accepts connections but answers nothing while records of a transaction wait.

The watchdog ended the process after 90 s, again and again. Each time, the deliver service sent the
messages again whose outcomes it could not record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from local.stack import Stack, StackOptions
from shared.runtime.failpoints import Failpoints
from shared.settings.sections import KafkaSettings
from shared.stream import transactions
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.stream.watchdog import Watchdog
from shared.topics.names import TopicPlan
from tests.support.patience import PATIENCE_S
from tests.support.pausing import pause, resume
from tests.support.stream_topics import read_all, repeat_lost

SERVICE, TOPIC = "test-unwritten", "test.unwritten"
# Records are collected for this time, so that none is sent before the broker is paused.
LINGER_MS = 60_000
FLUSH_S, FLUSHES = 0.5, 2
RECORD = Output(TOPIC, b"said", b"key")


class FreezeOnce(Failpoints):
    """Pauses the broker before the first records are sent."""

    def __init__(self, pid: int) -> None:
        super().__init__({})
        self._pid = pid
        self._is_done = False

    def hit(self, name: str) -> None:
        if name == f"{SERVICE}.produced" and not self._is_done:
            self._is_done = True
            pause(self._pid)

    def release(self) -> None:
        """Resume the broker."""
        resume(self._pid)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions(
        name="unwritten",
        folder=tmp_path_factory.mktemp("unwritten"),
        services=(),
        sink=False,
        is_lasting=False,
    )
    with Stack(options) as running:
        yield running


@pytest.fixture
def bootstrap(stack: Stack) -> str:
    address = stack.endpoints.kafka
    ensure_topics(KafkaSettings(bootstrap=address), [TopicPlan(TOPIC, 1, {})])
    return address


@pytest.fixture
def broker(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[FreezeOnce]:
    collecting = partial(make_producer, linger_ms=LINGER_MS)
    monkeypatch.setattr(transactions, "make_producer", collecting)
    monkeypatch.setattr(transactions, "FLUSH_S", FLUSH_S)
    monkeypatch.setattr(transactions, "MAX_FLUSHES", FLUSHES)
    found = FreezeOnce(stack.process("kafka").pid)
    yield found
    found.release()


def producer_of(bootstrap: str, broker: FreezeOnce, watchdog: Watchdog) -> TransactionalProducer:
    options = ClientOptions(bootstrap, SERVICE)
    return TransactionalProducer(options, SERVICE, broker, watchdog, None, (TOPIC,))


def test_the_transaction_is_lost_names_the_partition_and_is_written_later(
    bootstrap: str, broker: FreezeOnce
) -> None:
    before = len(read_all(bootstrap, TOPIC, 0))
    ended: list[str] = []
    watchdog = Watchdog(PATIENCE_S, lambda step, _: ended.append(step))
    with closing(producer_of(bootstrap, broker, watchdog)) as producer:
        with pytest.raises(TransactionLost, match=f"not written within 1 s: {TOPIC}/0"):
            producer.commit([RECORD])
        broker.release()

        def write_again() -> None:
            producer.open()
            producer.commit([RECORD])

        repeat_lost(write_again)  # on a busy machine, 1 s may be too short again
    assert len(read_all(bootstrap, TOPIC, before + 1)) == before + 1
    assert ended == []


def test_the_transaction_goes_on_waiting_while_no_broker_takes_a_connection(
    bootstrap: str, broker: FreezeOnce
) -> None:
    before = len(read_all(bootstrap, TOPIC, 0))
    asked = threading.Semaphore(0)

    def is_away() -> bool:
        asked.release()
        return True

    with closing(producer_of(bootstrap, broker, Watchdog(PATIENCE_S, is_away=is_away))) as producer:
        committing = threading.Thread(target=producer.commit, args=([RECORD],), daemon=True)
        committing.start()
        for _ in range(2 * FLUSHES):
            assert asked.acquire(timeout=PATIENCE_S)
        assert committing.is_alive()
        broker.release()
        committing.join(PATIENCE_S)
    assert len(read_all(bootstrap, TOPIC, before + 1)) == before + 1
