"""A transactional producer asks for all its topics at once, before the first record for them."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import pytest

from shared.runtime.failpoints import Failpoints
from shared.stream import sending
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.producing import known_partitions
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.watchdog import Watchdog
from tests.support.smtp_peers import wait_until


class Looks:
    """What was looked up for the records that were sent: the producer, and unknown topics."""

    def __init__(self) -> None:
        self.producer: Any = None
        self.unknown: list[str] = []

    def look(self, producer: Any, topic: str) -> Collection[int]:
        self.producer = producer
        partitions = known_partitions(producer, topic)
        if not partitions:
            self.unknown.append(topic)
        return partitions

    def wait_for(self, topic: str) -> None:
        """Wait until the producer knows the topic, which it must have asked for before."""
        wait_until(lambda: bool(known_partitions(self.producer, topic)), f"{topic} is known")
        self.unknown.clear()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    found = Looks()
    monkeypatch.setattr(sending, "known_partitions", found.look)
    return found


def _producer(bootstrap: str, name: str, writes: Collection[str]) -> TransactionalProducer:
    options = ClientOptions(bootstrap, name)
    return TransactionalProducer(options, name, Failpoints.none(), Watchdog(), None, writes)


def test_no_transaction_waits_for_a_topic_that_its_producer_was_made_for(
    kafka_bootstrap: str, topics: tuple[str, str], looks: Looks
) -> None:
    # Mail that was turned away for the first time held up all other mail for 0.1 s per topic.
    first, later = topics
    producer = _producer(kafka_bootstrap, f"knows.{first}", topics)
    try:
        producer.commit([Output(first, b"1")])
        looks.wait_for(later)
        producer.commit([Output(later, b"2"), Output(first, b"3")])
    finally:
        producer.close()
    assert looks.unknown == []


def test_a_missing_topic_is_asked_for_twice_and_the_others_are_known(
    kafka_bootstrap: str,
    topics: tuple[str, str],
    looks: Looks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, later = topics
    missing = f"{first}.missing"
    producer = _producer(kafka_bootstrap, f"lacks.{first}", (missing, *topics))
    try:
        producer.commit([Output(first, b"1")])
        wait_until(lambda: _complaints(caplog, missing) == 2, "it was asked for")
        time.sleep(0.5)  # Five requests of the library.
        looks.wait_for(later)
        producer.commit([Output(later, b"2"), Output(first, b"3")])
    finally:
        producer.close()
    assert looks.unknown == []
    assert _complaints(caplog, missing) == 2


def _complaints(caplog: pytest.LogCaptureFixture, topic: str) -> int:
    """How many times the library logged that there is no such topic."""
    return sum(f"Topic {topic} not found" in record.getMessage() for record in caplog.records)
