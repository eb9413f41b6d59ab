"""Routes: overrides, and the meaning of DNS answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.attempt.results import Bounced, Deferred
from services.deliver.core.attempt.verdicts import unroutable
from services.deliver.core.routing.sites import (
    Host,
    NoDomain,
    NoServer,
    NullMx,
    Routes,
    Site,
    Unresolved,
    mx_of,
    site_of_mx,
)


def test_a_domain_has_its_own_override_before_the_one_for_all() -> None:
    routes = Routes({"*": "127.0.0.1:2525", "Example.COM": "relay.example:587"})
    assert routes.site_of("example.com") == Site(
        "relay.example:587", (Host("relay.example", 587, is_named=True),), is_override=True
    )
    assert routes.site_of("other.example") == Site(
        "127.0.0.1:2525", (Host("127.0.0.1", 2525, is_named=True),), is_override=True
    )
    assert Routes({"example.com": "a:1"}).site_of("other.example") is None
    assert Routes({}).site_of("example.com") is None


@pytest.mark.parametrize(
    ("text", "host"),
    [("a:25", Host("a", 25, is_named=True)), ("[::1]:26", Host("::1", 26, is_named=True))],
)
def test_an_override_is_host_and_port(text: str, host: Host) -> None:
    site = Routes({"*": text}).site_of("example.com")
    assert site is not None
    assert site.hosts == (host,)


@pytest.mark.parametrize(
    ("records", "name", "ranks"),
    [
        ([(10, "a.example")], "a.example", [0]),
        ([(10, "b.example"), (10, "a.example")], "a.example,b.example", [0, 0]),
        ([(5, "a.example"), (5, "b.example")], "a.example,b.example", [0, 0]),
        ([(20, "a.example"), (10, "b.example")], "b.example;a.example", [0, 1]),
        (
            [(1, "b.example"), (9, "c.example"), (1, "a.example")],
            "a.example,b.example;c.example",
            [0, 0, 1],
        ),
        # A name that is repeated counts at its best preference.
        ([(10, "a.example"), (20, "a.example"), (20, "b.example")], "a.example;b.example", [0, 1]),
    ],
)
def test_a_site_is_named_by_its_exchangers_and_the_order_of_their_preferences(
    records: list[tuple[int, str]], name: str, ranks: list[int]
) -> None:
    site = site_of_mx(mx_of(records))
    assert site.name == name
    assert [host.rank for host in site.hosts] == ranks
    assert site_of_mx(mx_of(reversed(records))) == site


@pytest.mark.parametrize(
    ("odd", "own"),
    [
        ("mx1.web.example,mx2.web.example", [(10, "mx1.web.example"), (10, "mx2.web.example")]),
        ("mx1.web.example;mx2.web.example", [(10, "mx1.web.example"), (20, "mx2.web.example")]),
        ("mx1.web.example mx", [(10, "mx1.web.example")]),
    ],
)
def test_nobody_names_an_exchanger_like_the_site_of_others(
    odd: str, own: list[tuple[int, str]]
) -> None:
    taken = site_of_mx(mx_of([(10, odd)]))
    assert taken.hosts[0].name == odd
    assert taken.name != site_of_mx(mx_of(own)).name
    assert " " not in taken.name


def test_nobody_names_an_exchanger_like_a_server_that_an_operator_has_named() -> None:
    named = Routes({"*": "relay.example.net:587"}).site_of("example.com")
    assert named is not None
    assert site_of_mx(mx_of([(10, "relay.example.net:587")])).name != named.name


exchangers = st.lists(
    st.tuples(st.sampled_from([10, 20]), st.text("a.,;:%2c ", min_size=1, max_size=6)),
    min_size=1,
    max_size=3,
)


@given(exchangers, exchangers)
def test_only_the_same_exchangers_in_the_same_order_share_a_site(
    one: list[tuple[int, str]], other: list[tuple[int, str]]
) -> None:
    first, second = mx_of(one), mx_of(other)
    assert (site_of_mx(first).name == site_of_mx(second).name) == (first == second)


def test_a_domain_with_very_many_exchangers_has_only_the_best() -> None:
    hosts = mx_of((number, f"{number:03}.example") for number in range(500)).hosts
    assert [host.name for host in hosts] == [f"{number:03}.example" for number in range(20)]


@pytest.mark.parametrize(
    ("resolution", "kind", "enhanced", "bounce_class"),
    [
        (NullMx(), Bounced, "5.1.10", "hard"),
        (NoDomain(), Bounced, "5.1.2", "hard"),
        (NoServer(), Bounced, "5.1.2", "hard"),
        (Unresolved("timeout"), Deferred, "4.4.3", "network"),
    ],
)
def test_a_domain_without_a_server_bounces_only_when_the_dns_says_so(
    resolution: NullMx | NoDomain | NoServer | Unresolved,
    kind: type,
    enhanced: str,
    bounce_class: str,
) -> None:
    outcome = unroutable("d.example", resolution)
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Bounced | Deferred)
    assert (outcome.enhanced, outcome.bounce_class) == (enhanced, bounce_class)
    assert not outcome.dispatched
