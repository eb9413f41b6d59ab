"""Fault: orders begin and end while deliver is killed, is paused and gets a second process."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from kafka import KafkaProducer

from cli.audit.command import audit
from cli.control.topic import write_orders
from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions
from shared.topics import names
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import FINAL, EventType
from tests.support.chaos.witnesses import EventWatch
from tests.support.fork_server import fork

CLIENT: Final = "racing"
DOMAIN: Final = "news.racing.example"
DOMAINS: Final = ("bounced.example", "held.example", "free.example")
PER_DOMAIN: Final = 400
WAIT_S: Final = 150.0
ENV: Final = {
    name: {"SLUICE_DELIVER__RETRY_TIME_SCALE": "0.01"} for name in ("deliver", "deliver-2")
}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(
        StackOptions(
            name="racing",
            start=fork,
            folder=tmp_path,
            restart=False,
            is_lasting=False,
            part_env=ENV,
        )
    ) as stack:
        client = Client(CLIENT, DOMAIN, "back@racing.example.org", "standard")
        publish.apply(KafkaSettings(bootstrap=stack.endpoints.kafka), Changes(added=(client,)))
        yield stack


class Run:
    """Submits mail and gives orders."""

    def __init__(self, stack: Stack) -> None:
        self._kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
        self.watch = EventWatch(stack.endpoints.kafka)
        self._producer = KafkaProducer(
            bootstrap_servers=stack.endpoints.kafka, metrics_enabled=False
        )
        self.sent = 0

    def submit(self, number: int) -> None:
        for _ in range(number):
            for domain in DOMAINS:
                self.sent += 1
                self._producer.send(
                    names.intake(CLIENT),
                    f"From: <n@{DOMAIN}>\r\nTo: ok-{self.sent}@{domain}\r\nSubject: x\r\n"
                    f"Message-ID: <{self.sent}@{DOMAIN}>\r\n\r\nHello\r\n".encode(),
                )
        self._producer.flush()

    def order(self, verb: Verb, domain: str) -> None:
        order = Order(verb, Scope(domain=domain), "ann", "a race", now_ms())
        write_orders(self._kafka, [order])

    def kinds(self) -> Counter[EventType]:
        """Return the number of events by kind."""
        return Counter(event.type for event in self.watch.events(frozenset({CLIENT})))

    def finals(self) -> Counter[str]:
        """Return the final events of each message."""
        events = self.watch.events(frozenset({CLIENT}))
        return Counter(event.subject for event in events if event.type in FINAL)

    def wait(self, is_met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_met():
            assert time.monotonic() < deadline, (self.sent, len(self.finals()))
            time.sleep(0.1)

    def close(self) -> None:
        self._producer.close(timeout=10)
        self.watch.close()


def test_every_message_has_one_final_event_whatever_races(stack: Stack) -> None:
    run = Run(stack)
    part = PER_DOMAIN // 4
    run.submit(part)
    run.order(Verb.BOUNCE, DOMAINS[0])
    run.order(Verb.SUSPEND, DOMAINS[1])
    run.submit(part)
    stack.kill("deliver", signal.SIGKILL)
    run.submit(part)
    stack.start_part("deliver")
    stack.start_part("deliver-2")
    stack.wait_ready("deliver")
    stack.wait_ready("deliver-2")
    run.order(Verb.EXPIRE, DOMAINS[1])
    # The process is paused beyond its session, with messages in flight, while the orders change.
    stack.kill("deliver", signal.SIGSTOP)
    run.order(Verb.RESUME, DOMAINS[0])
    run.submit(PER_DOMAIN - 3 * part)
    started = time.monotonic()
    # On a busy machine the other process takes its partitions over later.
    run.wait(lambda: time.monotonic() - started > 15 and run.kinds()[EventType.EXPIRED] > 0)
    run.order(Verb.RESUME, DOMAINS[1])
    stack.kill("deliver", signal.SIGCONT)
    run.wait(lambda: len(run.finals()) == run.sent)
    assert set(run.finals().values()) == {1}
    kinds = run.kinds()
    assert kinds[EventType.DELIVERED] >= PER_DOMAIN  # at least the messages of the third domain
    assert kinds[EventType.EXPIRED] > 0
    # A commit reaches each topic, and the topic of the offsets, at a different time.
    options = ClientOptions(stack.endpoints.kafka, "test")
    run.wait(lambda: audit(options, settled=True).balanced)
    run.close()
