"""The resolver with a DNS server of the test, which can be made to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import dns.rcode
import pytest
import uvloop

from services.deliver.core.routing.addresses import Addresses, Lookup, NoAddress
from services.deliver.core.routing.sites import (
    Host,
    Mx,
    NoDomain,
    NoServer,
    NullMx,
    Resolution,
    Unresolved,
)
from services.deliver.edge.dns.resolver import LIFETIME_S, MIN_TTL_S, NEGATIVE_TTL_S, Resolver
from shared.runtime.clock import FakeClock
from tests.support.dns_server import DENIED, OTHER_NAME, REFERRAL, SILENT, Dns, Zone, serving
from tests.support.patience import PATIENCE_S

ZONE: Zone = {
    ("two.example.", "MX"): ["20 b.mx.example.", "10 A.mx.example."],
    ("equal.example.", "MX"): ["10 b.mx.example.", "10 a.mx.example."],
    ("null.example.", "MX"): ["0 ."],
    ("odd.example.", "MX"): ["0 .", "10 a.mx.example."],
    ("none.example.", "A"): ["192.0.2.1"],
    ("unsure.example.", "A"): dns.rcode.SERVFAIL,
    ("gone.example.", "MX"): dns.rcode.NXDOMAIN,
    ("broken.example.", "MX"): dns.rcode.SERVFAIL,
    ("refused.example.", "MX"): dns.rcode.REFUSED,
    ("lame.example.", "MX"): REFERRAL,
    ("contrary.example.", "MX"): DENIED + "10 mx.example.",
    ("mixed-up.example.", "MX"): OTHER_NAME + "10 mx.other.example.",
    ("both.mx.example.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("both.mx.example.", "AAAA"): ["2001:db8::1"],
    ("half.mx.example.", "A"): ["192.0.2.1"],
    ("half.mx.example.", "AAAA"): dns.rcode.SERVFAIL,
    ("deaf.mx.example.", "A"): ["192.0.2.1"],
    ("deaf.mx.example.", "AAAA"): SILENT,
    ("mixed-up.mx.example.", "A"): OTHER_NAME + "192.0.2.9",
    ("denied.mx.example.", "A"): ["192.0.2.1"],
    ("denied.mx.example.", "AAAA"): dns.rcode.NXDOMAIN,
    ("gone.mx.example.", "A"): dns.rcode.NXDOMAIN,
    ("gone.mx.example.", "AAAA"): dns.rcode.NXDOMAIN,
    ("broken.mx.example.", "A"): dns.rcode.SERVFAIL,
    ("lame.mx.example.", "A"): REFERRAL,
}


Test = Callable[[Resolver, Dns, FakeClock], Coroutine[Any, Any, None]]


def run(test: Test) -> None:
    async def whole() -> None:
        clock = FakeClock()
        async with asyncio.timeout(PATIENCE_S), serving(ZONE) as (server, address):
            await test(Resolver(clock.monotonic, (address,)), server, clock)

    uvloop.run(whole())


@pytest.mark.parametrize(
    ("domain", "resolution"),
    [
        ("two.example", Mx((Host("a.mx.example"), Host("b.mx.example", rank=1)))),
        ("equal.example", Mx((Host("a.mx.example"), Host("b.mx.example")))),
        ("null.example", NullMx()),
        ("odd.example", Mx((Host("a.mx.example"),))),
        ("none.example", Mx((Host("none.example"),))),
        ("gone.example", NoDomain()),
        ("bare.example", NoServer()),
    ],
)
def test_an_answer_of_the_dns_is_read(domain: str, resolution: Resolution) -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        assert await resolver.resolve(domain) == resolution
        assert resolver.cached(domain) == resolution

    run(test)


@pytest.mark.parametrize(
    "domain",
    [
        *("broken.example", "refused.example", "lame.example", "unsure.example"),
        *("mixed-up.example", "contrary.example"),
    ],
)
def test_a_failure_of_the_dns_says_nothing_about_the_domain_and_is_not_kept(domain: str) -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        assert isinstance(await resolver.resolve(domain), Unresolved)
        assert resolver.cached(domain) is None

    run(test)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("both.mx.example", Addresses(("192.0.2.1", "192.0.2.2", "2001:db8::1"))),
        ("half.mx.example", Addresses(("192.0.2.1",))),
        ("denied.mx.example", Addresses(("192.0.2.1",))),
        ("gone.mx.example", NoAddress()),
        ("bare.mx.example", NoAddress()),
    ],
)
def test_the_addresses_of_a_host_are_kept(name: str, found: Lookup) -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        answers = await asyncio.gather(*(resolver.addresses(name) for _ in range(50)))
        assert set(answers) == {found}
        assert server.asked == [f"{name}."] * 2  # A and AAAA

    run(test)


def test_a_family_that_is_not_answered_does_not_hold_up_the_other() -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        async with asyncio.timeout(LIFETIME_S):
            assert await resolver.addresses("deaf.mx.example") == Addresses(("192.0.2.1",))

    run(test)


@pytest.mark.parametrize("name", ["broken.mx.example", "lame.mx.example", "mixed-up.mx.example"])
def test_a_host_has_no_address_only_if_the_dns_is_sure_of_both_families(name: str) -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        assert isinstance(await resolver.addresses(name), Unresolved)

    run(test)


def test_known_addresses_are_served_while_the_dns_fails() -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        known = await resolver.addresses("both.mx.example")
        server.failing = True
        clock.go_on(3_000)
        assert await resolver.addresses("both.mx.example") == known

    run(test)


def test_many_who_ask_at_once_are_one_question_and_the_answer_is_kept() -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        found = await asyncio.gather(*(resolver.resolve("two.example") for _ in range(100)))
        assert len(set(found)) == 1
        clock.go_on(299)
        await resolver.resolve("two.example")
        assert server.asked == ["two.example."]
        clock.go_on(2)
        await resolver.resolve("two.example")
        assert len(server.asked) == 2

    run(test)


def test_what_was_known_is_served_while_the_dns_fails() -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        known = {name: await resolver.resolve(name) for name in ("two.example", "gone.example")}
        server.failing = True
        clock.go_on(10 * max(300.0, NEGATIVE_TTL_S, MIN_TTL_S))
        for name, resolution in known.items():
            assert await resolver.resolve(name) == resolution
        assert isinstance(await resolver.resolve("none.example"), Unresolved)

    run(test)
