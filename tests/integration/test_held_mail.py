"""Mail over a quota waits, and passes once the quota is raised: on a real pipeline."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from kafka import KafkaProducer
from msgspec import Struct

from local.stack import Stack
from shared.quotas.view import QuotaView
from shared.registry.client import Client, OverQuota
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions
from shared.topics import names
from shared.topics.records import Event
from tests.support.chaos.witnesses import EventWatch
from tests.support.patience import PATIENCE_S

# One process runs all modules that use this pipeline.
pytestmark = pytest.mark.xdist_group("shared-line")

CLIENT: Final = "quoted"
DOMAIN: Final = "news.quoted.example"
QUOTA: Final = 4


class Place(Struct, frozen=True):
    """A pipeline, its events, and a client with a quota."""

    kafka: str
    watch: EventWatch
    producer: KafkaProducer

    def register(self, quota: int) -> None:
        client = Client(
            CLIENT,
            DOMAIN,
            "returns@owner.example",
            "news",
            monthly_quota=quota,
            over_quota=OverQuota.HOLD,
        )
        publish.apply(KafkaSettings(bootstrap=self.kafka), Changes(added=(client,)))

    def submit(self, name: str) -> None:
        content = (
            f"From: News <news@{DOMAIN}>\r\nTo: ok-{name}@example.com\r\nSubject: {name}\r\n"
            f"Message-ID: <{name}@{DOMAIN}>\r\n\r\nHello\r\n"
        )
        self.producer.send(names.intake(CLIENT), content.encode())
        self.producer.flush()

    def kinds(self) -> Counter[str]:
        return Counter(event.type.value for event in self.events())

    def events(self) -> tuple[Event, ...]:
        return self.watch.events(frozenset({CLIENT}))

    def wait(self, is_met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_met():
            assert time.monotonic() < deadline, self.kinds()
            time.sleep(0.1)


@pytest.fixture
def place(shared_line: Stack) -> Iterator[Place]:
    kafka = shared_line.endpoints.kafka
    producer: Any = KafkaProducer(bootstrap_servers=kafka, metrics_enabled=False)
    watch = EventWatch(kafka)
    yield Place(kafka, watch, producer)
    watch.close()
    producer.close(timeout=10)


def test_mail_over_a_quota_waits_and_passes_when_the_quota_is_raised(place: Place) -> None:
    place.register(QUOTA)
    view = QuotaView(ClientOptions(place.kafka, "test"))
    view.start()
    place.wait(lambda: view.beat() is not None)
    view.close()
    for number in range(QUOTA + 3):
        place.submit(f"n{number}")
    place.wait(lambda: place.kinds()["held"] == 3)
    place.wait(lambda: place.kinds()["delivered"] == QUOTA)
    assert place.kinds()["delivered"] == QUOTA

    place.register(QUOTA + 3)
    place.wait(lambda: place.kinds()["delivered"] == QUOTA + 3)
    assert len({event.subject for event in place.events()}) == QUOTA + 3
    assert place.kinds()["held"] == 3
