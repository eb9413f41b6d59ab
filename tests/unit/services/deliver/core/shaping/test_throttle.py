"""Whether a message may wait here, by suspensions and limits, and what is forgotten."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.core.shaping.suspensions import Action, Event
from services.deliver.core.shaping.throttle import DEFAULT_SLOW_RATE, FORGET_S, Throttle
from services.deliver.core.shaping.turns import LONGEST_TURN_S, SHORTEST_TURN_S
from services.deliver.core.shaping.workers import Workers
from shared.topics.reputation import WarmupState

NOW, AT = 1_000.0, 1_700_000_000.0
TO = Destination("r.example", "mx.r.example", "big")
OTHER = Destination("o.example", "mx.o.example")
SENDER = Party("shop", "news", "news.example.com")
NEIGHBOUR = Party("bank", "letters", "bank.example.com")
BIG = "[provider.big]\nmx = ['r.example']\n"


def throttle(text: str = BIG, workers: int = 1) -> Throttle:
    return Throttle(combine([parse_file(text, "test")]), Workers(workers, 0.0))


def suspend(of: Throttle, key: str, for_s: float = 600.0) -> None:
    of.suspensions.happen(key, Event(Action.SUSPEND, for_s, "421 too much"), AT)


@pytest.mark.parametrize(
    ("key", "source", "is_held"),
    [
        ("provider:big", "", True),
        ("site:mx.r.example", "", True),
        ("domain:r.example", "", True),
        ("client:shop", "", True),
        ("mailing:shop/news", "", True),
        ("client:shop@provider:big", "", True),
        ("sending_domain:news.example.com@provider:big", "", True),
        ("source:192.0.2.1@provider:big", "192.0.2.1", True),
        ("source:192.0.2.1@provider:big", "192.0.2.2", False),
        ("source:192.0.2.1@provider:big", "", False),
        ("provider:other", "", False),
        ("client:bank", "", False),
        ("mailing:shop/other", "", False),
    ],
)
def test_mail_is_held_back_by_a_suspension_of_any_of_its_keys_and_by_no_other(
    key: str, source: str, is_held: bool
) -> None:
    of = throttle()
    suspend(of, key)
    found = of.held(of.group(TO, SENDER, AT), NOW, AT, source)
    assert (found is not None) == is_held
    if found is not None:
        assert found.reason == f"Suspended ({key}): 421 too much"
        assert found.delay_s >= 600.0


def test_one_client_suspended_at_a_provider_holds_back_no_neighbour() -> None:
    of = throttle()
    suspend(of, "client:shop@provider:big")
    assert of.held(of.group(TO, NEIGHBOUR, AT), NOW, AT) is None
    assert of.held(of.group(OTHER, SENDER, AT), NOW, AT) is None


@given(st.lists(st.sampled_from(["news", "letters"]), min_size=2, max_size=40), st.integers(1, 9))
def test_mail_of_a_suspended_key_comes_back_one_message_after_the_other_at_its_rate(
    mailings: list[str], workers: int
) -> None:
    of = throttle(workers=workers)
    suspend(of, "provider:big")
    delays = []
    for mailing in mailings:
        found = of.held(of.group(TO, Party("shop", mailing, "s.example"), AT), NOW, AT)
        assert found is not None
        delays.append(found.delay_s)
    steps = [later - earlier for earlier, later in pairwise(delays)]
    assert steps == pytest.approx([workers / DEFAULT_SLOW_RATE] * len(steps), abs=1e-3)
    assert delays[0] >= 600.0


def test_no_turn_is_later_than_the_longest_or_sooner_than_the_shortest() -> None:
    of = throttle()
    suspend(of, "provider:big", for_s=80_000.0)
    found = of.held_back(of.group(TO, SENDER, AT), AT)
    assert found is not None
    assert found.delay_s == LONGEST_TURN_S
    of = throttle()
    suspend(of, "provider:big", for_s=0.5)
    found = of.held_back(of.group(TO, SENDER, AT), AT)
    assert found is not None
    assert found.delay_s == SHORTEST_TURN_S


def test_after_a_suspension_new_mail_waits_here_again_and_its_turns_are_forgotten() -> None:
    of = throttle()
    suspend(of, "provider:big")
    assert of.held(of.group(TO, SENDER, AT), NOW, AT) is not None
    of.refresh(NOW + 700, AT + 700)
    assert of.held(of.group(TO, SENDER, AT), NOW + 700, AT + 700) is None
    of.suspensions.happen("provider:big", Event(Action.SUSPEND, 10.0, "again"), AT + 5_000)
    found = of.held(of.group(TO, SENDER, AT), NOW + 5_000, AT + 5_000)
    assert found is not None
    assert found.delay_s == pytest.approx(10.0 + 1 / DEFAULT_SLOW_RATE)


def test_mail_over_a_limit_is_held_for_that_limit_and_not_that_of_a_neighbour() -> None:
    of = throttle(BIG + "[client.shop]\nmessages = '2/h'\n")
    group = of.group(TO, SENDER, AT)
    held = None
    for _ in range(100):
        held = of.held(group, NOW, AT)
        if held is not None:
            break
        group.joined(1)
    assert held is not None
    assert held.reason == "Over the limit of client:shop: 2/h messages"
    assert held.delay_s >= SHORTEST_TURN_S
    assert of.held(of.group(TO, NEIGHBOUR, AT), NOW, AT) is None


@pytest.mark.parametrize(
    ("text", "to", "rate"),
    [
        (BIG, TO, DEFAULT_SLOW_RATE),
        (BIG + "slow_rate = '2/s'", TO, 2.0),
        (BIG + "slow_rate = '2/s'", OTHER, DEFAULT_SLOW_RATE),
        ("[default]\nslow_rate = '30/min'", OTHER, 0.5),
    ],
)
def test_a_destination_without_a_limit_is_slowed_down_from_the_rate_of_its_rules(
    text: str, to: Destination, rate: float
) -> None:
    of = throttle(text)
    assert not of.group(to, SENDER, AT).allowances
    of.suspensions.happen(to.key, Event(Action.SLOW_DOWN, 60.0, "450 slow down"), AT)
    of.refresh(NOW, AT)
    (slow,) = of.group(to, SENDER, AT).allowances
    assert (slow.key, slow.factor) == (to.key, 0.5)
    assert slow.limit.per_s == pytest.approx(rate)


def test_a_slow_down_of_a_destination_with_a_limit_adds_none() -> None:
    of = throttle(BIG + "messages = '8/s'")
    of.suspensions.happen("provider:big", Event(Action.SLOW_DOWN, 60.0, "450 slow down"), AT)
    of.refresh(NOW, AT)
    (limit,) = of.group(TO, SENDER, AT).allowances
    assert (limit.limit.per_s, limit.factor) == (8.0, 0.5)
    assert of.group(TO, SENDER, AT).share_per_s == 4.0


def test_a_limit_that_is_not_used_is_forgotten_and_comes_back_with_the_next_message() -> None:
    of = throttle(BIG + "messages = '8/s'")
    group = of.group(TO, SENDER, AT)
    group.joined(1)
    of.refresh(NOW, AT)
    of.refresh(NOW + 10 * FORGET_S, AT)
    assert len(list(of.allowances)) == 1, "mail waits for it"
    assert of.known(TO, SENDER) is group
    group.joined(-1)
    of.refresh(NOW + 20 * FORGET_S, AT)
    of.refresh(NOW + 30 * FORGET_S, AT)
    assert not list(of.allowances)
    assert of.known(TO, SENDER) is None, "no group keeps a limit that is forgotten"
    assert len(of.group(TO, SENDER, AT).allowances) == 1


def test_a_new_step_of_a_source_that_warms_up_is_its_limit_from_the_next_message_on() -> None:
    warmup = "[warmup]\ndays=[60,150]\nenough='50%'\npasses='95%'\nfalls='80%'\n"
    of = throttle(BIG + warmup + "[source.mx3]\nwarmup = true\n")
    sender = Party("shop", "news", "news.example.com", "mx3")
    assert [str(each.limit) for each in of.group(TO, sender, AT).allowances] == ["60 in 1d"]
    of.steps.replace([WarmupState("mx3", "big", 1)])
    assert of.known(TO, sender) is None
    assert [str(each.limit) for each in of.group(TO, sender, AT).allowances] == ["150 in 1d"]
    of.steps.replace([WarmupState("mx3", "big", 2)])
    assert not of.group(TO, sender, AT).allowances
