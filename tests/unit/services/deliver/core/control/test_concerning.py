"""Which orders concern the mail of a sender to a destination, as far as both are named."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.control.orders import NOWHERE, Place, concerning
from shared.topics.control import Order, Scope, Verb

NOW = 1_000
PLACE = Place(("mx1.example,mx2.example", "mx1.example", "mx2.example"), "google")
ALL = Scope(domain="example.net")
SHOP = Scope("shop", domain="example.net")
SPRING = Scope("shop", "spring", domain="example.net")
WHOLE, PART, NONE = "whole", "part", "none"


def order(verb: Verb = Verb.SUSPEND, /, **scope: str) -> Order:
    return Order(verb, Scope(**scope), "ann", "why", 10)


def share(found: Order, mail: Scope, place: Place = PLACE) -> str:
    answer = concerning([found], mail, place, NOW)
    assert len(answer.whole) + len(answer.part) <= 1
    return WHOLE if answer.whole else PART if answer.part else NONE


@pytest.mark.parametrize(
    ("scope", "of_all", "of_shop", "of_spring"),
    [
        ({"domain": "example.net"}, WHOLE, WHOLE, WHOLE),
        ({"domain": "other.example"}, NONE, NONE, NONE),
        ({"site": "mx2.example"}, WHOLE, WHOLE, WHOLE),
        ({"site": "mx3.example"}, NONE, NONE, NONE),
        ({"provider": "google"}, WHOLE, WHOLE, WHOLE),
        ({"provider": "yahoo"}, NONE, NONE, NONE),
        ({"client": "shop"}, PART, WHOLE, WHOLE),
        ({"client": "bank"}, PART, NONE, NONE),
        ({"client": "shop", "mailing": "spring"}, PART, PART, WHOLE),
        ({"client": "shop", "mailing": "winter"}, PART, PART, NONE),
        ({"client": "shop", "sub_client": "shop-de"}, PART, PART, PART),
        ({"client": "bank", "domain": "example.net"}, PART, NONE, NONE),
        ({"client": "shop", "domain": "other.example"}, NONE, NONE, NONE),
        ({"lane": "bulk"}, PART, PART, PART),
        ({"mail_id": "01JDEXAMPLE0000000000000ZZ"}, NONE, NONE, NONE),
    ],
)
def test_an_order_concerns_all_of_the_mail_or_a_part_or_nothing(
    scope: dict[str, str], of_all: str, of_shop: str, of_spring: str
) -> None:
    found = order(**scope)
    assert [share(found, mail) for mail in (ALL, SHOP, SPRING)] == [of_all, of_shop, of_spring]


@pytest.mark.parametrize("scope", [{"site": "mx1.example"}, {"provider": "google"}])
def test_an_order_on_a_site_may_concern_mail_whose_site_is_not_known(scope: dict[str, str]) -> None:
    assert share(order(**scope), ALL, NOWHERE) == PART


@pytest.mark.parametrize(
    "found", [replace(order(client="shop"), expires_at_ms=NOW), order(Verb.RESUME, client="shop")]
)
def test_an_order_that_is_over_concerns_nothing(found: Order) -> None:
    assert share(found, SHOP) == NONE


def test_the_order_that_counts_comes_first() -> None:
    reroute = order(Verb.REROUTE, client="shop", domain="example.net")
    wide, narrow = order(domain="example.net"), order(client="shop", domain="example.net")
    bounce = order(Verb.BOUNCE, provider="google")
    found = concerning([reroute, wide, narrow, bounce], SHOP, PLACE, NOW)
    assert found.whole == (bounce, narrow, wide, reroute)
