"""Quotas: each threshold has one event, whatever happens in between. Kafka and Redis are real."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from services.billing.edge.quota_keeper import KeeperParts, QuotaKeeper
from shared.quotas.view import QuotaView
from shared.registry.client import Client, Code, OverQuota
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.stream.log_reader import LogReader
from shared.stream.transactions import TransactionLost
from shared.topics.codec import encode_tally
from shared.topics.configs import state
from shared.topics.event_records import Tally, TallyRow
from shared.topics.names import TopicPlan
from shared.topics.quotas import QUOTA_PREFIX, QuotaScope
from tests.support.billing.stage import (
    DECEMBER_5_MS,
    NOVEMBER_MS,
    UTC_MONTHS,
    Stage,
    eventually,
    open_stage,
)

SHOP, SOUTH = QuotaScope("shop"), QuotaScope("shop", "south")


def shop(quota: int) -> dict[str, Client]:
    return {
        "shop": Client(
            "shop",
            "shop.example",
            "a@b.example",
            "news",
            codes={"s": Code("news", "south", monthly_quota=1_000)},
            monthly_quota=quota,
            over_quota=OverQuota.HOLD,
        )
    }


class Quoted(msgspec.Struct):
    """A stage with a topic of quotas, and the registered clients."""

    stage: Stage
    topic: str
    clients: dict[str, Client] | None

    def receive(self, number: int, sub_client: str = "south") -> None:
        """Publish a tally, and count it."""
        stage = self.stage
        stage.sent += 1
        rows = (TallyRow("shop", "news", sub_client, number),)
        tally = Tally("validate", stage.clock.now_ms(), rows)
        key, value, headers = encode_tally(tally, f"t.{stage.sent}")
        stage.publish_raw(value, headers, key)
        stage.count_all()

    @contextmanager
    def keeper(self) -> Iterator[tuple[QuotaKeeper, QuotaView]]:
        """A keeper as in a process of its own."""
        stage = self.stage
        view = QuotaView(stage.options, self.topic)
        view.start()
        eventually(view.ready, "the quotas are read")
        with stage.ends() as ends:
            keeper = QuotaKeeper(
                KeeperParts(
                    options=ClientOptions(stage.bootstrap, f"p-{uuid.uuid4().hex[:6]}"),
                    cells=stage.cells,
                    ends=ends,
                    months=UTC_MONTHS,
                    clock=stage.clock,
                    view=view,
                    clients=lambda: self.clients,
                    every_s=5.0,
                    topic=self.topic,
                    events=stage.topic,
                    writer=f"q-{self.topic}",
                )
            )
            try:
                yield keeper, view
            finally:
                keeper.close()
                view.close()

    def take_over(self, keeper: QuotaKeeper, view: QuotaView) -> None:
        """A turn that sees the other keeper's beats, and one when they have stopped."""
        eventually(lambda: view.beat() is not None, "the beat is seen")
        keeper.turn()
        self.stage.clock.go_on(60)
        keeper.turn()

    def expect(self, events: Sequence[tuple[str, str | None, str, int]]) -> None:
        """Wait for these events. A transaction can be read somewhat after its commit is answered,
        and all of it at once."""
        eventually(lambda: len(self.events()) >= len(events), f"these are told: {events}")
        assert self.events() == sorted(events, key=str)

    def events(self) -> list[tuple[str, str | None, str, int]]:
        """Type, sub-client, month and threshold of every quota event."""
        reader = LogReader(self.stage.options, self.stage.topic)
        parts = reader.partitions()
        reader.read_from(dict.fromkeys(parts, 0))
        ends, found = reader.ends(parts), list[Any]()
        while not reader.has_reached(ends):
            for records in reader.poll(100).values():
                found += records
        reader.close()
        events = []
        for record in found:
            kind = dict(record.headers)["ce_type"].decode()
            if kind.startswith(QUOTA_PREFIX):
                data = msgspec.json.decode(record.value)
                events.append((kind, data.get("sub_client"), data["month"], data["threshold"]))
        return sorted(events, key=str)


@pytest.fixture
def quoted(kafka_bootstrap: str, redis_url: str) -> Iterator[Quoted]:
    with open_stage(kafka_bootstrap, redis_url) as stage:
        topic = f"test.quotas.{uuid.uuid4().hex[:12]}"
        plan = TopicPlan(topic, 1, state(1_048_576))
        ensure_topics(KafkaSettings(bootstrap=kafka_bootstrap), [plan])
        stage.clock.go_on((NOVEMBER_MS - stage.clock.now_ms()) / 1000)
        yield Quoted(stage, topic, shop(100))


def warning(threshold: int, month: str = "2026-11") -> tuple[str, None, str, int]:
    kind = "sluice.quota.used_up" if threshold == 100 else "sluice.quota.warning"
    return (kind, None, month, threshold)


def test_each_threshold_has_one_event_whatever_happens_in_between(quoted: Quoted) -> None:
    stage = quoted.stage
    quoted.receive(85)
    with quoted.keeper() as (first, seen), quoted.keeper() as (second, seen_too):
        first.turn()
        first.turn()
        quoted.expect([warning(80)])
        eventually(lambda: seen.state(SHOP) is not None, "the state is seen")
        # The second one waits while the first one writes, then takes over; the first one, as after
        # a pause, is fenced and publishes nothing.
        quoted.take_over(second, seen_too)
        quoted.receive(7)
        second.turn()
        with pytest.raises(TransactionLost):
            first.turn()
        quoted.expect([warning(80), warning(90)])

    # The store loses everything; a new process counts again.
    stage.store.flushdb()
    with quoted.keeper() as (third, seen):
        quoted.take_over(third, seen)
        stage.count_all()
        quoted.receive(20)
        third.turn()
        third.turn()
        month = [warning(100), warning(80), warning(90)]
        quoted.expect(month)
        eventually(lambda: used(seen) == (112, 112), "what is used is seen")

        # A raised quota, and then another month: what was used counts no more.
        quoted.clients = shop(1_000)
        third.turn()
        quoted.expect(month)
        stage.clock.go_on((DECEMBER_5_MS - stage.clock.now_ms()) / 1000)
        quoted.receive(900)
        third.turn()
        december = [warning(80, "2026-12"), warning(90, "2026-12")]
        south = [(kind, "south", at, threshold) for kind, _, at, threshold in december]
        quoted.expect([*month, *december, *south])


def used(view: QuotaView) -> tuple[int, int]:
    found = [view.state(scope) for scope in (SHOP, SOUTH)]
    return tuple(each.used if each else 0 for each in found)  # type: ignore[return-value]


def test_without_the_registry_a_keeper_writes_nothing(quoted: Quoted) -> None:
    quoted.receive(85)
    known, quoted.clients = quoted.clients, None
    with quoted.keeper() as (keeper, view):
        keeper.turn()
        assert quoted.events() == []
        quoted.clients = known
        keeper.turn()
        eventually(lambda: bool(view.states()), "the states are seen")
    quoted.expect([warning(80)])
