"""Keepers of quotas beside a store that is slow, hangs or is paused; time is virtual."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import pytest
from msgspec import Struct

from services.billing.core.cells import Cell, encode_cell
from services.billing.core.month import Months
from services.billing.edge import quota_keeper as keeper
from services.billing.edge.log_ends import LogEnds
from services.billing.edge.quota_keeper import MAX_WAIT_S, SILENT_TURNS, KeeperParts, QuotaKeeper
from shared.quotas.view import Quotas
from shared.registry.client import Client
from shared.runtime.clock import FakeClock
from shared.store.client import StoreUnavailable
from shared.store.read_cells import Snapshot
from shared.store.read_pieces import Moment
from shared.stream.client import ClientOptions
from shared.stream.transactions import TransactionLost
from shared.topics.quotas import QuotaScope

EVERY_S = 5.0
SHOP = QuotaScope("shop")
CLIENTS = {"shop": Client("shop", "shop.example", "a@b.example", "news", monthly_quota=100)}
RECEIVED = encode_cell(Cell("shop", "news", "", "received", "01"))


class Record(Struct):
    key: bytes
    value: bytes | None
    offset: int = 0


class Topic:
    """billing.quotas, and which producer has the transactional id."""

    def __init__(self) -> None:
        self.written = Quotas()
        self.owner: object = None
        self.opened = 0

    def ready(self) -> bool:
        return True

    def beat(self) -> object:
        return self.written.beat

    def states(self) -> object:
        return self.written.states.copy()

    def producer(self, *_: object) -> Producer:
        return Producer(self)


class Producer:
    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self._is_open = False

    def open(self) -> None:
        if not self._is_open:
            self._is_open, self._topic.owner = True, self
            self._topic.opened += 1

    def commit(self, outputs: list[Any]) -> None:
        self.open()
        if self._topic.owner is not self:
            self._is_open = False
            raise TransactionLost("fenced")
        for each in outputs:
            if each.topic == "billing.quotas":
                self._topic.written.add(Record(each.key, each.value))

    def close(self) -> None:
        pass


class Store:
    """A month of 50 received, which is read whole each time. `read` is what reading does."""

    def __init__(self) -> None:
        self.read: Callable[[], None] = lambda: None
        self.reads = 0

    def follow(self, _: object) -> Store:
        return self

    def close(self) -> None:
        pass

    @contextmanager
    def reading(self, month: str) -> Iterator[Moment]:
        self.reads += 1
        self.read()
        snapshot = Snapshot(True, "log", {0: 0}, {}, {})
        yield Moment(snapshot, False, iter([(month, RECEIVED, 50)]))


class Ends:
    def ask(self) -> LogEnds:
        return LogEnds("log", {0: 0})


class Place:
    """The topic, the clock, and keepers of several processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topic, self.clock = Topic(), FakeClock()
        monkeypatch.setattr(keeper, "TransactionalProducer", self.topic.producer)
        monkeypatch.setattr(QuotaKeeper, "_read", self._read_topic)

    def _read_topic(self, _: object = None) -> Quotas:
        found = Quotas()
        found.states, found.beat = dict(self.topic.written.states), self.topic.written.beat
        return found

    def keeper(self) -> tuple[QuotaKeeper, Store]:
        store: Any = Store()
        view: Any = self.topic
        parts = KeeperParts(
            options=ClientOptions("127.0.0.1:1", "test"),
            cells=store,
            ends=Ends(),
            months=Months(UTC),
            clock=self.clock,
            view=view,
            clients=lambda: CLIENTS,
            every_s=EVERY_S,
        )
        return QuotaKeeper(parts), store

    def counted_to_ms(self) -> int:
        beat = self.topic.written.beat
        return beat.counted_to_ms if beat else 0


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(monkeypatch)


@pytest.mark.parametrize("hung_s", [15.0, 25.0, 60.0, 180.0])
def test_after_a_store_that_hung_the_next_turn_counts_again(place: Place, hung_s: float) -> None:
    found, store = place.keeper()
    found.turn()

    def hang() -> None:
        place.clock.go_on(hung_s)
        raise StoreUnavailable("Redis: timed out")

    store.read = hang
    with pytest.raises(StoreUnavailable):
        found.turn()
    store.read = lambda: None
    # As no other keeper has written meanwhile, it opens the id again when that is known.
    for _ in range(5):
        place.clock.go_on(EVERY_S)
        found.turn()
    assert place.counted_to_ms() == place.clock.now_ms()


@pytest.mark.parametrize("paused_s", [60.0, 10_000.0])
def test_a_pause_in_a_reading_delays_the_next_one_by_a_minute_at_most(
    place: Place, paused_s: float
) -> None:
    found, store = place.keeper()
    store.read = lambda: place.clock.go_on(paused_s)
    found.turn()
    store.read = lambda: None
    reads = store.reads
    for _ in range(int(MAX_WAIT_S / EVERY_S)):
        place.clock.go_on(EVERY_S)
        found.turn()
    assert store.reads > reads
    assert place.counted_to_ms() == place.clock.now_ms()


@pytest.mark.parametrize("reading_s", [0.5, 1.0, 2.0, 9.0, 20.0, 40.0])
def test_keepers_whose_readings_take_long_do_not_take_over_from_each_other(
    place: Place, reading_s: float
) -> None:
    keepers = [place.keeper() for _ in range(2)]
    busy, lost = set[int](), Counter[int]()

    def turn(number: int) -> None:
        if number in busy:
            return
        busy.add(number)
        try:
            keepers[number][0].turn()
        except TransactionLost:
            lost[number] += 1
        finally:
            busy.discard(number)

    def reads(number: int) -> Callable[[], None]:
        def read() -> None:
            left_s = reading_s
            while left_s > 0:
                step_s = min(left_s, EVERY_S)
                place.clock.go_on(step_s)
                left_s -= step_s
                turn(1 - number)

        return read

    for number, (_, store) in enumerate(keepers):
        store.read = reads(number)
    begin = place.clock.monotonic()
    oldest_ms = 0
    while place.clock.monotonic() < begin + 7_200:
        for number in range(2):
            turn(number)
        place.clock.go_on(EVERY_S)
        if place.clock.monotonic() > begin + 300:
            oldest_ms = max(oldest_ms, place.clock.now_ms() - place.counted_to_ms())
    assert place.topic.opened <= 4
    assert sum(lost.values()) <= 3
    assert oldest_ms <= 1_000 * (MAX_WAIT_S + 2 * reading_s + 2 * EVERY_S)
    assert place.topic.written.states[SHOP].used == 50


def test_a_keeper_that_died_is_replaced_though_its_readings_took_long(place: Place) -> None:
    (first, slow), (second, _) = place.keeper(), place.keeper()
    slow.read = lambda: place.clock.go_on(40)
    first.turn()
    second.turn()
    for _ in range(3):
        place.clock.go_on(EVERY_S)
        second.turn()
    assert place.topic.opened == 2
    assert place.counted_to_ms() == place.clock.now_ms()


def test_a_keeper_that_was_fenced_waits_though_nothing_was_ever_written(place: Place) -> None:
    found, store = place.keeper()

    def is_fenced() -> None:
        place.clock.go_on(100)
        place.topic.owner = "another process"

    store.read = is_fenced
    with pytest.raises(TransactionLost):
        found.turn()
    store.read = lambda: None
    found.turn()
    assert place.topic.owner == "another process"
    place.clock.go_on(60 + SILENT_TURNS * EVERY_S)
    found.turn()
    assert place.topic.opened == 2
