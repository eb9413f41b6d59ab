"""One final event for each message, also when an order and an attempt race."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.deliver.core.control.orders import Orders
from services.deliver.core.control.orders import Place as Destination
from services.deliver.core.routing.sites import Host, Site
from services.deliver.edge.control.control import Control
from shared.runtime.clock import FakeClock
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import Envelope
from tests.support.ordered_attempts import KnownOrders, Place, idle, make_job, make_place, until

DOMAIN = Scope(domain="example.net")


def order(verb: Verb, target: str = "") -> Order:
    return Order(verb, DOMAIN, "ann", "why", 1, target=target)


class FaultyOrders(Orders):
    """Fails for one recipient."""

    def find(self, envelope: Envelope, place: Destination, now_ms: int) -> Order | None:
        if envelope.recipient.startswith("broken"):
            raise RuntimeError("a fault of our own")
        return super().find(envelope, place, now_ms)


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def inside() -> None:
        await test(make_place())

    asyncio.run(inside())


FINAL = [(Verb.CANCEL, "cancelled"), (Verb.BOUNCE, "bounced"), (Verb.EXPIRE, "expired")]


@pytest.mark.parametrize(("verb", "kind"), [*FINAL, (Verb.SUSPEND, "deferred")])
def test_a_message_that_is_read_under_an_order_is_not_attempted(verb: Verb, kind: str) -> None:
    async def test(place: Place) -> None:
        place.order(order(verb))
        place.attempts.hand_out([make_job()])
        await until(lambda: bool(place.settled.written))
        assert place.settled.kinds() == [kind]
        assert place.sender.targets == []

    run(test)


@pytest.mark.parametrize(("verb", "kind"), [*FINAL, (Verb.SUSPEND, "deferred")])
def test_a_message_that_waits_for_a_connection_ends_at_once_and_never_goes_out(
    verb: Verb, kind: str
) -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job()])
        await until(lambda: place.sender.waiting == 1)
        place.order(order(verb))
        assert place.settled.kinds() == [kind]
        place.order()  # resumed, with the message still in the pool
        place.sender.connect()
        await idle()
        assert place.settled.kinds() == [kind]
        assert place.sender.sent == 0

    run(test)


@pytest.mark.parametrize(("verb", "kind"), FINAL)
def test_an_order_that_comes_between_two_looks_counts_just_before_the_first_byte(
    verb: Verb, kind: str
) -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job()])
        await until(lambda: place.sender.waiting == 1)
        place.source.orders = type(place.source.orders)([order(verb)])
        place.sender.connect()
        await until(lambda: bool(place.settled.written))
        place.attempts.look_again()
        await idle()
        assert place.settled.kinds() == [kind]
        assert place.sender.sent == 0

    run(test)


@pytest.mark.parametrize("verb", [verb for verb, _ in FINAL])
def test_an_attempt_that_has_begun_wins(verb: Verb) -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job()])
        await until(lambda: place.sender.waiting == 1)
        place.sender.connect()
        await until(lambda: place.sender.sent == 1)
        place.order(order(verb))
        await until(lambda: bool(place.settled.written))
        place.order(order(verb))
        await idle()
        assert place.settled.kinds() == ["delivered"]

    run(test)


def test_a_message_that_was_turned_away_stays_so_if_its_sender_fails_later() -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job()])
        await until(lambda: place.sender.waiting == 1)
        place.order(order(Verb.BOUNCE))
        place.sender.fault = RuntimeError("a fault of the pool")
        place.sender.connect()
        await until(lambda: place.failed.get() == 1)
        await idle()
        assert place.settled.kinds() == ["bounced"]

    run(test)


def test_a_message_of_another_member_is_left_alone() -> None:
    async def test(place: Place) -> None:
        job = make_job()
        place.attempts.hand_out([job])
        await until(lambda: place.sender.waiting == 1)
        job.assigned.closing = True
        place.order(order(Verb.CANCEL))
        place.sender.connect()
        await idle()
        assert place.settled.written == []

    run(test)


def test_a_message_that_could_not_begin_has_one_event_when_it_is_handed_out_again() -> None:
    async def test(place: Place) -> None:
        job = make_job()
        leased = [False]
        job.assigned.has_lease = lambda: leased[0]
        place.attempts.hand_out([job])
        await until(lambda: place.sender.waiting == 1)
        place.order(order(Verb.CANCEL))  # the process does not know whether it still owns it
        assert place.settled.written == []
        leased[0] = True
        place.attempts.hand_out(job.assigned.take_declined())
        place.sender.connect()
        await until(lambda: bool(place.settled.written))
        await idle()
        assert place.settled.kinds() == ["cancelled"]
        assert place.sender.sent == 0

    run(test)


def test_mail_that_waits_for_one_server_is_sent_to_the_other_when_it_is_rerouted() -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job()])
        await until(lambda: place.sender.waiting == 1)
        place.order(order(Verb.REROUTE, "relay:25"))
        assert place.settled.written == []
        place.sender.connect()
        await until(lambda: place.sender.waiting == 1)
        place.sender.connect()
        await until(lambda: bool(place.settled.written))
        assert place.sender.targets == ["", "relay:25"]
        assert (place.sender.sent, place.settled.kinds()) == (1, ["delivered"])

    run(test)


def test_mail_is_not_sent_to_the_other_server_once_it_is_resumed() -> None:
    async def test(place: Place) -> None:
        place.order(order(Verb.REROUTE, "relay:25"))
        place.attempts.hand_out([make_job()])
        await until(lambda: place.sender.waiting == 1)
        place.order()
        place.sender.connect()
        await until(lambda: place.sender.waiting == 1)
        place.sender.connect()
        await until(lambda: bool(place.settled.written))
        assert place.sender.targets == ["relay:25", ""]
        assert place.sender.sent == 1

    run(test)


@pytest.mark.parametrize(("verb", "kinds"), [(Verb.CANCEL, ["cancelled"]), (Verb.SUSPEND, [])])
def test_a_message_before_its_earliest_time_can_be_cancelled_but_need_not_be_suspended(
    verb: Verb, kinds: list[str]
) -> None:
    async def test(place: Place) -> None:
        place.order(order(verb))
        place.attempts.hand_out([make_job(not_before_ms=place.clock.now_ms() + 60_000)])
        await until(lambda: bool(place.settled.written))
        assert place.settled.kinds() == kinds

    run(test)


def test_a_message_that_has_expired_says_so_whatever_is_ordered() -> None:
    async def test(place: Place) -> None:
        place.order(order(Verb.BOUNCE))
        place.attempts.hand_out([make_job(expires_at_ms=5)])
        await until(lambda: bool(place.settled.written))
        assert place.settled.kinds() == ["expired"]
        assert place.settled.events()[0].data.author == ""

    run(test)


def test_orders_on_others_change_nothing() -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job("bob@other.example")])
        await until(lambda: place.sender.waiting == 1)
        place.order(order(Verb.BOUNCE))
        place.sender.connect()
        await until(lambda: bool(place.settled.written))
        assert place.settled.kinds() == ["delivered"]

    run(test)


def test_an_order_by_site_or_provider_counts_once_the_domain_was_resolved() -> None:
    source = KnownOrders()
    control = Control(source, FakeClock())
    envelope = make_job().message.envelope
    for scope in (Scope(site="mx2.example"), Scope(site="mx1.example;mx2.example")):
        found = Order(Verb.SUSPEND, scope, at_ms=1)
        source.orders = type(source.orders)([found])
        assert control.of(make_job("x@elsewhere.example").message.envelope) is None
        control.resolved(
            "example.net",
            Site("mx1.example;mx2.example", (Host("mx1.example"), Host("mx2.example"))),
        )
        assert control.of(envelope) == found
    by_provider = Order(Verb.SUSPEND, Scope(provider="google"), at_ms=1)
    source.orders = type(source.orders)([by_provider])
    assert control.of(envelope) is None
    control.resolved("example.net", Site("mx1.example", (Host("mx1.example"),)), "google")
    assert control.of(envelope) == by_provider


def test_events_are_counted_by_lane_provider_site_and_class_whoever_ends_the_message() -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job(), make_job("bob@other.example")])
        await until(lambda: place.sender.waiting == 2)
        place.order(order(Verb.BOUNCE))
        place.sender.connect()
        await until(lambda: len(place.settled.written) == 2)
        assert place.counted.by_lane.values == {
            ("bounced", "", "", "marketing"): 1,
            ("delivered", "", "", "marketing"): 1,
        }
        # A message that an operator ended had no site; one delivery does not make a site busy.
        assert place.counted.by_site.values == {
            ("bounced", "none", "marketing"): 1,
            ("delivered", "other", "marketing"): 1,
        }

    run(test)


def test_an_order_that_cannot_be_applied_to_a_message_defers_it_and_no_other() -> None:
    async def test(place: Place) -> None:
        place.attempts.hand_out([make_job("broken@example.net"), make_job()])
        await until(lambda: place.sender.waiting == 2)
        place.source.orders = FaultyOrders([order(Verb.BOUNCE)])
        place.attempts.look_again()
        assert sorted(place.settled.kinds()) == ["bounced", "deferred"]
        assert place.failed.get() == 1
        place.source.orders = Orders()
        place.sender.connect()
        await idle()
        assert place.sender.sent == 0
        assert len(place.settled.written) == 2

    run(test)
