"""What the view of the registry shows when mail.clients was created again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from kafka.errors import KafkaError

from shared.registry.client import Client
from shared.registry.store.view import ClientView
from shared.settings.sections import KafkaSettings
from tests.support.patience import PATIENCE_S

SHOP = Client("shop", "s.example.com", "back@other.example", "M-1")
OTHER = Client("other", "o.example.com", "back@other.example", "M-1")


class Reading:
    """A reading of one topic, which is replaced by the next one as soon as it was read."""

    def __init__(self, clients: dict[str, Client], begun: threading.Event, is_last: bool) -> None:
        self.clients = clients
        self.by_domain: dict[str, str] = {}
        self.kept: dict[str, Client] = {}
        self.unreadable = 0
        self.is_last = is_last
        begun.set()

    def end_offset(self) -> int:
        return len(self.clients)

    def position(self) -> int:
        return len(self.clients)

    def poll(self) -> None:
        if not self.is_last:
            raise KafkaError("created again")
        threading.Event().wait(0.01)

    def close(self) -> None:
        pass


def named(*clients: Client) -> dict[str, Client]:
    return {each.name: each for each in clients}


@pytest.fixture
def topics() -> list[dict[str, Client]]:
    """What mail.clients holds at each reading; the last one lasts."""
    return []


@pytest.fixture
def third(topics: list[dict[str, Client]], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the topic is read for the third time."""
    begun = [threading.Event() for _ in range(3)]
    left: Iterator[threading.Event] = iter(begun)

    def make(_: object) -> Reading:
        found = topics.pop(0) if len(topics) > 1 else topics[0]
        return Reading(found, next(left, begun[-1]), is_last=len(topics) == 1 and begun[1].is_set())

    monkeypatch.setattr("shared.registry.store.view.Reading", make)
    return begun[-1]


@contextmanager
def started() -> Iterator[ClientView]:
    with closing(ClientView(KafkaSettings(bootstrap="nowhere:1"))) as view:
        view.start()
        yield view


def test_an_empty_topic_takes_no_client_away(
    topics: list[dict[str, Client]], third: threading.Event
) -> None:
    topics += [named(SHOP), {}]
    with started() as view:
        assert third.wait(PATIENCE_S)
        assert view.names() == ("shop",)
        assert view.check() == ""


def test_a_new_topic_with_clients_replaces_those_known_before(
    topics: list[dict[str, Client]], third: threading.Event
) -> None:
    topics += [named(SHOP), {}, named(OTHER)]
    with started() as view:
        assert third.wait(PATIENCE_S)
        assert view.refresh(PATIENCE_S)
        assert view.names() == ("other",)
