"""The keeper of the reputation on a real Kafka: each result counts once, whoever counts."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.deliver.core.control.orders import Orders
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.edge.control.follower import ControlFollower
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.reputation.inputs import ProviderLookup
from services.deliver.edge.reputation.keeper import (
    SILENT_TURNS,
    KeeperParts,
    ReputationKeeper,
    make_metrics,
)
from services.deliver.edge.reputation.view import ReputationView
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.failpoints import REPUTATION_NAMES, Failpoints
from shared.runtime.telemetry import Counters
from shared.settings.sections import KafkaSettings
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions, make_producer
from shared.stream.log_reader import LogReader
from shared.stream.transactions import TransactionLost
from shared.topics.codec import encode_event
from shared.topics.configs import state
from shared.topics.control import Order, Scope, Verb, decode_order, encode_order
from shared.topics.names import TopicPlan
from shared.topics.records import EventType, MailEvent
from tests.support.patience import PATIENCE_S

RULES = combine(
    [
        parse_file(
            """
[provider.google]
domains = ["gmail.com"]
[source.mx3]
warmup = [50, 100]
[warmup]
days = [1]
enough = "50%"
passes = "95%"
falls = "80%"
[ratios]
bounces = "10% of 100 in 24h"
complaints = "1% of 100 in 24h"
""",
            "test",
        )
    ]
)
CLOCK = SystemClock()
EVERY_S = 30.0


class SkippedTime(SystemClock):
    """The machine's clock; the test may skip the time in which a keeper is silent."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def skip(self, seconds: float) -> None:
        self._skipped_s += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped_s


def until(holds: Callable[[], Any], what: str) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


class Topics:
    """Topics of their own, and what is written to them."""

    def __init__(self, bootstrap: str) -> None:
        tag = uuid.uuid4().hex[:8]
        self.events, self.reputation, self.control = (
            f"test.{name}.{tag}" for name in ("events", "reputation", "control")
        )
        self.options = ClientOptions(bootstrap, f"t-{tag}")
        plans = [TopicPlan(self.events, 2, {})]
        plans += [TopicPlan(name, 1, state(1_000_000)) for name in (self.reputation, self.control)]
        ensure_topics(KafkaSettings(bootstrap=bootstrap), plans, self.options)
        self.producer = make_producer(self.options, None)
        self._sent = 0

    def happen(self, kind: EventType, number: int, client: str = "shop", **more: Any) -> None:
        for _ in range(number):
            self._sent += 1
            data = MailEvent(client, recipient="a@gmail.com", at_ms=CLOCK.now_ms(), **more)
            key, value, headers = encode_event(kind, f"M{self._sent}", data, "deliver")
            self.producer.send(self.events, value, key, headers)
        self.producer.flush()

    def delivered(self, number: int, client: str = "shop") -> None:
        more = {"provider": "google", "source": "192.0.2.3", "mail_class": "marketing"}
        self.happen(EventType.DELIVERED, number, client, **more)

    @contextmanager
    def keeper(
        self, failpoints: Failpoints | None = None, clock: Clock = CLOCK
    ) -> Iterator[tuple[ReputationKeeper, ReputationView]]:
        """A keeper as in a process of its own; its turns are taken by the test.

        With the machine's clock it takes over from nobody, however slow the machine is.
        """
        view = ReputationView(self.options, self.reputation)
        view.start(lambda: None)
        until(view.ready, "mail.reputation is read")
        keeper = ReputationKeeper(
            KeeperParts(
                self.options,
                RULES,
                {"192.0.2.3": "mx3"},
                view,
                Orders,
                ProviderLookup(RULES, Resolver(CLOCK.monotonic), CLOCK),
                clock,
                make_metrics(Counters("test")),
                failpoints or Failpoints.none(),
                every_s=EVERY_S,
                reputation=self.reputation,
                events=self.events,
                control=self.control,
                writer=self.reputation,
            )
        )
        try:
            yield keeper, view
        finally:
            keeper.close()
            view.close()

    @contextmanager
    def follower(self) -> Iterator[ControlFollower]:
        """The orders as a deliver process knows them."""
        follower = ControlFollower(self.options, CLOCK, self.control)
        follower.start(lambda: None)
        try:
            until(follower.is_current, "the orders are read")
            yield follower
        finally:
            follower.close()

    def give(self, order: Order) -> None:
        """Write an order as a command does."""
        key, value = encode_order(order)
        self.producer.send(self.control, value, key, [], 0)
        self.producer.flush()

    def orders(self) -> list[Order]:
        reader = LogReader(self.options, self.control)
        found: list[Order] = []
        ends = reader.ends([0])
        reader.read_from({0: 0})
        while not reader.has_reached(ends):
            for record in reader.poll(200).get(0, ()):
                found.append(decode_order(record.key, record.value or b""))
        reader.close()
        return found


@pytest.fixture
def topics(kafka_bootstrap: str) -> Iterator[Topics]:
    made = Topics(kafka_bootstrap)
    yield made
    made.producer.close(timeout=5)


class Died(BaseException):
    """The process has ended at a failpoint."""


def die(_name: str) -> None:
    raise Died


def scopes(follower: ControlFollower) -> list[str]:
    return sorted(str(order.scope) for order in follower.orders.in_force(CLOCK.now_ms()))


def counted(view: ReputationView) -> int:
    return sum(slot.delivered for each in view.clients() for slot in each.slots)


def counts_after_silence(
    number: int, clock: SkippedTime, keeper: ReputationKeeper, view: ReputationView
) -> Callable[[], bool]:
    """Whether `keeper` has counted `number` results, at a turn by which the others are silent."""

    def has_counted() -> bool:
        clock.skip(SILENT_TURNS * EVERY_S)
        keeper.turn()
        return counted(view) == number

    return has_counted


def test_each_result_counts_once_whichever_process_counts_and_a_share_suspends_the_client(
    topics: Topics,
) -> None:
    clock = SkippedTime()
    with topics.keeper() as (first, seen), topics.keeper(clock=clock) as (second, others):
        first.turn()
        until(lambda: others.place() is not None, "the other one knows that somebody counts")
        topics.delivered(90)
        topics.delivered(50, "bank")

        def both() -> bool:
            first.turn()
            second.turn()  # the other one writes: it stands by
            return counted(seen) == 140

        until(both, "all are counted, once")
        # The first one is paused; the second one takes over, and the first is refused.
        topics.delivered(10)
        taken_over = counts_after_silence(150, clock, second, seen)
        until(taken_over, "the second one goes on where the first one ended")
        with pytest.raises(TransactionLost):
            first.turn()
        until(lambda: [each.delivered for each in seen.sources()] == [150], "the source's too")
        (source,) = seen.sources()
        assert (source.source, source.provider, source.step) == ("mx3", "google", 0)
        assert source.since_ms > 0
        # A complaint has no provider in its event.
        topics.happen(EventType.COMPLAINED, 2)

        def suspended() -> bool:
            second.turn()
            return bool(topics.orders())

        until(suspended, "the client is suspended")
        second.turn()
    (order,) = topics.orders()
    assert order.scope == Scope(client="shop", provider="google"), "and not the bank"
    assert order.reason == "complaints: 2 of 100 (2.00%), over 1% of 100 in 1d"
    # A restart knows all of it, without Redis.
    with topics.keeper(clock=clock) as (third, view):
        is_known = counts_after_silence(50, clock, third, view)
        until(is_known, "the bank's are known; the shop begins again")
        third.turn()
        assert len(topics.orders()) == 1, "the same results suspend nobody again"


@pytest.mark.parametrize("point", REPUTATION_NAMES)
def test_a_keeper_that_dies_hides_no_order_of_an_operator_and_its_own_comes_once(
    topics: Topics, point: str
) -> None:
    has_committed = point == "reputation.committed"
    own, others = "client shop provider google", "client bank"
    # It dies in its second transaction, which holds the order.
    failpoints = Failpoints.parse(f"{point}:2", die)
    clock = SkippedTime()
    with topics.follower() as follower, topics.keeper(failpoints) as (keeper, _):
        keeper.turn()
        topics.delivered(90)
        topics.happen(EventType.BOUNCED, 30, provider="google", bounce_class="hard")
        with pytest.raises(Died):
            keeper.turn()
        topics.give(Order(Verb.SUSPEND, Scope(client="bank"), at_ms=CLOCK.now_ms()))
        until(lambda: others in scopes(follower), "the operator's order is in force")
        until(follower.is_current, "nothing hides a later one")
        if has_committed:
            until(lambda: own in scopes(follower), "its own order was committed")
        assert (own in scopes(follower)) is has_committed
        topics.give(Order(Verb.RESUME, Scope(client="bank"), at_ms=CLOCK.now_ms()))
        until(lambda: others not in scopes(follower), "so is the end of it")
        with topics.keeper(clock=clock) as (successor, view):

            def counts() -> bool:
                clock.skip(SILENT_TURNS * EVERY_S)
                successor.turn()
                return bool(view.clients()) and own in scopes(follower)

            until(counts, "the successor has counted the same results")
            successor.turn()
        assert scopes(follower) == [own]
    assert len([order for order in topics.orders() if order.scope.provider]) == 1
