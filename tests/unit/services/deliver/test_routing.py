"""Routes: overrides, and the meaning of DNS answers."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.outcome import Bounced, Deferred
from services.deliver.core.attempt.verdicts import unroutable
from services.deliver.core.routing.sites import (
    Host,
    Mx,
    NoDomain,
    NullMx,
    RouteError,
    Routes,
    Site,
    Unresolved,
    site_of_mx,
)


def test_a_domain_has_its_own_override_before_the_one_for_all() -> None:
    routes = Routes({"*": "127.0.0.1:2525", "Example.COM": "relay.example:587"})
    assert routes.site_of("example.com") == Site("relay.example:587", (Host("relay.example", 587),))
    assert routes.site_of("other.example") == Site("127.0.0.1:2525", (Host("127.0.0.1", 2525),))
    assert Routes({"example.com": "a:1"}).site_of("other.example") is None
    assert Routes({}).site_of("example.com") is None


@pytest.mark.parametrize(
    ("text", "host"),
    [("a:25", Host("a", 25)), ("a", Host("a", 25)), ("[::1]:26", Host("::1", 26)),
     ("[::1]", Host("::1", 25))],
)  # fmt: skip
def test_an_override_is_host_and_port(text: str, host: Host) -> None:
    site = Routes({"*": text}).site_of("example.com")
    assert site is not None
    assert site.hosts == (host,)


@pytest.mark.parametrize("text", ["", ":25", "a:", "a:x", "a:0", "a:65536"])
def test_what_is_no_host_and_port_is_named(text: str) -> None:
    with pytest.raises(RouteError, match="host:port"):
        Routes({"*": text})


def test_domains_with_the_same_mail_hosts_share_a_site() -> None:
    assert site_of_mx(Mx(("a.example", "b.example"))) == site_of_mx(Mx(("a.example", "b.example")))
    assert site_of_mx(Mx(("a.example",))).hosts == (Host("a.example", 25),)


@pytest.mark.parametrize(
    ("resolution", "kind", "enhanced", "bounce_class"),
    [
        (NullMx(), Bounced, "5.1.10", "hard"),
        (NoDomain(), Bounced, "5.1.2", "hard"),
        (Unresolved("timeout"), Deferred, "4.4.3", "network"),
    ],
)
def test_a_domain_without_a_server_bounces_only_when_the_dns_says_so(
    resolution: NullMx | NoDomain | Unresolved, kind: type, enhanced: str, bounce_class: str
) -> None:
    outcome = unroutable("d.example", resolution)
    assert isinstance(outcome, kind)
    assert isinstance(outcome, Bounced | Deferred)
    assert (outcome.enhanced, outcome.bounce_class) == (enhanced, bounce_class)
    assert not outcome.dispatched
