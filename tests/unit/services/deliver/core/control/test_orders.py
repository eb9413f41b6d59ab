"""Which order of an operator counts for a message, and when the known orders are recent enough."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.control.orders import (
    FRESH_S,
    GIVE_UP_TRIES,
    NOWHERE,
    Freshness,
    Orders,
    Place,
    scope_fault,
)
from shared.topics.control import Order, Scope, Verb
from shared.topics.records import Envelope, Facts, Origin

NOW = 1_000
MAIL = Envelope(
    "01JDEXAMPLE0000000000000ZZ",
    "shop",
    "news@shop.example",
    "Anna@Example.NET",
    "<1@shop.example>",
    0,
    Origin(),
    Facts(),
    mailing_id="spring",
    sub_client="shop-de",
    lane="bulk",
)
PLACE = Place(("mx1.example,mx2.example", "mx1.example", "mx2.example"), "google")


def order(verb: Verb = Verb.SUSPEND, /, **scope: str) -> Order:
    return Order(verb, Scope(**scope), "ann", "why", 10)


@pytest.mark.parametrize(
    "scope",
    [
        {"client": "shop"},
        {"client": "shop", "mailing": "spring"},
        {"client": "shop", "sub_client": "shop-de"},
        {"domain": "example.net"},
        {"site": "mx1.example,mx2.example"},
        {"site": "mx2.example"},
        {"provider": "google"},
        {"lane": "bulk"},
        {"mail_id": MAIL.mail_id},
        {"client": "shop", "domain": "example.net", "provider": "google", "lane": "bulk"},
    ],
)
def test_an_order_concerns_a_message_that_has_all_its_values(scope: dict[str, str]) -> None:
    found = order(**scope)
    assert Orders([found]).find(MAIL, PLACE, NOW) == found


@pytest.mark.parametrize(
    "scope",
    [
        {"client": "other"},
        {"client": "shop", "mailing": "winter"},
        {"client": "other", "domain": "example.net"},
        {"domain": "net"},
        {"domain": "mail.example.net"},
        {"site": "mx3.example"},
        {"provider": "yahoo"},
        {"lane": "default"},
        {"mail_id": "01JDEXAMPLE0000000000000ZY"},
    ],
)
def test_an_order_concerns_no_message_that_differs_in_one_value(scope: dict[str, str]) -> None:
    assert Orders([order(**scope)]).find(MAIL, PLACE, NOW) is None


@pytest.mark.parametrize("scope", [{"site": "mx1.example"}, {"provider": "google"}])
def test_a_site_or_provider_is_not_matched_before_it_is_known(scope: dict[str, str]) -> None:
    assert Orders([order(**scope)]).find(MAIL, NOWHERE, NOW) is None


def test_mail_without_a_sub_client_or_lane_is_not_that_of_an_order_which_names_one() -> None:
    plain = replace(MAIL, sub_client="", lane="")
    orders = Orders([order(client="shop", sub_client="shop-de"), order(lane="bulk")])
    assert orders.find(plain, PLACE, NOW) is None


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (order(Verb.CANCEL, mail_id=MAIL.mail_id), order(Verb.BOUNCE, client="shop")),
        (order(Verb.BOUNCE, domain="example.net"), order(Verb.SUSPEND, client="shop")),
        (order(Verb.EXPIRE, lane="bulk"), order(Verb.SUSPEND, client="shop", lane="bulk")),
        (order(Verb.SUSPEND, client="shop"), replace(order(Verb.REROUTE, lane="bulk"), target="h")),
        (order(client="shop", lane="bulk"), order(domain="example.net")),
        (replace(order(lane="bulk"), at_ms=20), order(client="shop")),
    ],
)
def test_the_stronger_the_narrower_then_the_later_order_counts(
    stronger: Order, weaker: Order
) -> None:
    assert Orders([stronger, weaker]).find(MAIL, PLACE, NOW) == stronger
    assert Orders([weaker, stronger]).find(MAIL, PLACE, NOW) == stronger


def test_an_order_that_is_over_leaves_the_others_in_force() -> None:
    over = replace(order(Verb.BOUNCE, client="shop"), expires_at_ms=NOW)
    orders = Orders([over, order(domain="example.net"), order(Verb.RESUME, lane="bulk")])
    assert orders.find(MAIL, PLACE, NOW) == order(domain="example.net")
    assert orders.in_force(NOW) == [order(domain="example.net")]
    assert Orders([over]).find(MAIL, PLACE, NOW - 1) == over


@pytest.mark.parametrize(
    ("found", "is_suspended"),
    [
        (order(lane="bulk"), True),
        (order(lane="bulk", client="shop"), False),
        (order(lane="default"), False),
        (order(Verb.BOUNCE, lane="bulk"), False),
        (replace(order(lane="bulk"), expires_at_ms=NOW), False),
    ],
)
def test_a_lane_is_not_read_while_all_its_mail_is_suspended(
    found: Order, is_suspended: bool
) -> None:
    assert Orders([found]).suspends_lane("bulk", NOW) is is_suspended


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope(), "at least one"),
        (Scope(mailing="a"), "client"),
        (Scope(sub_client="a", domain="b"), "client"),
        (Scope(client="c", mailing="a"), ""),
        (Scope(domain="b"), ""),
    ],
)
def test_a_scope_names_something_and_a_mailing_its_client(scope: Scope, words: str) -> None:
    found = scope_fault(scope)
    assert words in found if words else not found


def test_nothing_begins_before_the_orders_were_read_however_often_that_fails() -> None:
    freshness = Freshness()
    for _ in range(10 * GIVE_UP_TRIES):
        freshness.count_failure()
    assert not freshness.was_read
    assert not freshness.is_current(0.0)


@pytest.mark.parametrize(
    ("age_s", "failed_tries", "is_current"),
    [
        (0.0, 0, True),
        (FRESH_S, 0, True),
        (FRESH_S + 1, 0, False),
        (FRESH_S + 1, GIVE_UP_TRIES - 1, False),
        (FRESH_S + 1, GIVE_UP_TRIES, True),
    ],
)
def test_after_a_pause_the_orders_are_confirmed_first_unless_they_cannot_be(
    age_s: float, failed_tries: int, is_current: bool
) -> None:
    freshness = Freshness()
    freshness.confirm(100.0)
    for _ in range(failed_tries):
        freshness.count_failure()
    assert freshness.is_current(100.0 + age_s) is is_current


def test_a_confirmation_forgets_the_failures_before_it() -> None:
    freshness = Freshness()
    for _ in range(GIVE_UP_TRIES):
        freshness.count_failure()
    freshness.confirm(100.0)
    assert not freshness.is_current(100.0 + FRESH_S + 1)
