"""The group of a message is looked up each time: what changes counts for the next message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from services.deliver.core.shaping.keys import Destination
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.core.shaping.suspensions import Action, Event
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Grant, Workers
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.shaping.shaper import Shaper
from shared.runtime.clock import FakeClock
from shared.runtime.telemetry import Counters
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply
from shared.topics.records import Envelope
from shared.topics.reputation import WarmupState
from tests.support.memory_limits import MemoryLeases, MemoryStates
from tests.support.pool_talk import envelope

TO = Destination("big.example", "mx.big.example", "big")
WARMED = Destination("gmail.com", "g", "google")
MAIL = replace(envelope("a@big.example"), client="shop", mailing_id="news")
RULES = """
[provider.big]
mx = ["big.example"]
messages = ["1000/s"]
[warmup]
days = [60, 150]
enough = "50%"
passes = "95%"
falls = "80%"
[source.mx3]
warmup = true
"""
SUSPEND = Event(Action.SUSPEND, 60.0, "421 too much")


def checked(check: Callable[[Shaper, Throttle], None]) -> None:
    """Run this with a shaper whose limits have room."""

    async def run() -> None:
        throttle = Throttle(combine([parse_file(RULES, "test")]), Workers(1, 0.0))
        counters, stores = Counters("test"), Stores(MemoryLeases(), MemoryStates())
        check(Shaper(throttle, stores, "w1", FakeClock(), counters), throttle)
        counters.close()

    asyncio.run(run())


def test_messages_of_one_sender_to_one_destination_have_one_group() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        group = shaper.group(MAIL, TO)
        equal = Destination("big.example", "mx.big.example", "big")
        other_local_part = f"another-{MAIL.sender}"
        assert shaper.group(replace(MAIL, sender=other_local_part), equal) is group

    checked(check)


@pytest.mark.parametrize(
    ("mail", "to", "source"),
    [
        (replace(MAIL, client="other"), TO, ""),
        (replace(MAIL, mailing_id="other"), TO, ""),
        (replace(MAIL, sender="news@other.example"), TO, ""),
        (MAIL, Destination("big.example", "mx.big.example"), ""),
        (MAIL, TO, "mx3"),
    ],
)
def test_any_difference_makes_another_group(mail: Envelope, to: Destination, source: str) -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        group = shaper.group(mail, to, source)
        assert group is not shaper.group(MAIL, TO)
        assert (group.sender.client, group.sender.mailing_id) == (mail.client, mail.mailing_id)
        assert (group.to, group.sender.source) == (to, source)
        assert group.sender.sending_domain == mail.sender.partition("@")[2]

    checked(check)


def test_the_steps_of_a_source_count_for_the_next_message() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        limits = []
        for step in (0, 1):
            shaper.warm_up([WarmupState("mx3", "google", step)])
            warmup = shaper.group(MAIL, WARMED, "mx3").warmup
            assert warmup is not None
            limits.append(warmup.limit.amount)
        assert limits == [60, 150]

    checked(check)


def test_a_suspension_holds_the_next_message_whoever_noted_it() -> None:
    def by_this_worker(throttle: Throttle, at: float) -> None:
        throttle.suspensions.happen("provider:big", SUSPEND, at)

    def by_another(throttle: Throttle, at: float) -> None:
        other = Throttle(throttle.rules, Workers(1))
        other.suspensions.happen("provider:big", SUSPEND, at)
        throttle.suspensions.merge(other.suspensions.all(), at)

    def check(shaper: Shaper, throttle: Throttle) -> None:
        began_at = FakeClock().now_ms() / 1000
        for at, suspend in ((began_at, by_this_worker), (began_at + 2, by_another)):
            group = shaper.group(MAIL, TO)
            assert shaper.held(group, "default") is None
            assert shaper.held(group, "default") is None, "there is room without a look"
            suspend(throttle, at)
            held = shaper.held(group, "default")
            assert held is not None
            assert held.reason == "Suspended (provider:big): 421 too much"
            throttle.suspensions.happen("provider:big", Event(Action.RESUME, 0.0, "again"), at + 1)
            assert shaper.held(group, "default") is None

    checked(check)


def test_a_refusal_counts_and_a_success_does_not() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        group = shaper.group(MAIL, TO)
        shaper.ended(group, Finished(Stage.CONTENT, Reply(250, "2.0.0", "Ok")), "192.0.2.1")
        assert not throttle.suspensions.has_any

    checked(check)


def test_nothing_is_remembered_when_the_last_suspension_is_over() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        throttle.suspensions.happen("provider:big", SUSPEND, 1_000.0)
        assert throttle.suspensions.has_any
        throttle.suspensions.merge([], 1_000.0 + 3 * 60 + 1)
        assert not throttle.suspensions.has_any
        assert not len(throttle.suspensions)

    checked(check)


def test_mail_of_a_lane_of_one_destination_waits_whatever_room_its_limits_have() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        group = shaper.group(MAIL, TO)
        for _ in range(5_000):
            assert shaper.held(group, "big") is None
            group.joined(1)
        held = shaper.held(group, "default")
        assert held is not None
        assert held.reason.startswith("Over the limit of provider:big")
        shaper.lanes.handed("big", range(2_000))
        assert shaper.lanes.hold_s("big", 0) > 0, "it is read no more than goes"

    checked(check)


def test_mail_of_a_lane_of_several_destinations_is_turned_away() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        group = shaper.group(MAIL, TO)
        assert shaper.held(group, "mixed") is None
        assert shaper.held(shaper.group(MAIL, WARMED), "mixed") is None
        group.joined(5_000)
        assert shaper.held(group, "mixed") is not None

    checked(check)


def test_mail_of_a_lane_is_turned_away_when_its_source_may_send_no_more_today() -> None:
    def check(shaper: Shaper, throttle: Throttle) -> None:
        group = shaper.group(MAIL, WARMED, "mx3")
        assert group.warmup is not None
        assert shaper.held(group, "gmail") is None
        now = asyncio.get_running_loop().time()
        group.warmup.granted(Grant(0.0, now, 3_600.0))
        held = shaper.held(group, "gmail")
        assert held is not None
        assert held.reason.startswith("Over the limit of warmup:mx3")

    checked(check)
