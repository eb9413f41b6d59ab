"""The resolver with a DNS server of the test, which can be made to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import uvloop

from services.deliver.core.routing.sites import Mx, NoDomain, NullMx, Resolution, Unresolved
from services.deliver.edge.dns.resolver import MIN_TTL_S, NEGATIVE_TTL_S, Resolver, _nameserver
from shared.runtime.clock import FakeClock

ZONE: dict[str, list[str] | int] = {
    "two.example.": ["20 b.mx.example.", "10 A.mx.example."],
    "null.example.": ["0 ."],
    "odd.example.": ["0 .", "10 a.mx.example."],
    "none.example.": [],
    "gone.example.": dns.rcode.NXDOMAIN,
    "broken.example.": dns.rcode.SERVFAIL,
    "refused.example.": dns.rcode.REFUSED,
}


class Dns(asyncio.DatagramProtocol):
    """Answers MX queries from ZONE; with `failing` every answer is SERVFAIL."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text().lower()
        self.asked.append(name)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        rows = dns.rcode.SERVFAIL if self.failing else ZONE[name]
        if isinstance(rows, int):
            response.set_rcode(dns.rcode.Rcode(rows))
        elif rows:
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", "MX", *rows))
        self.transport.sendto(response.to_wire(), addr)


Test = Callable[[Resolver, Dns, FakeClock], Coroutine[Any, Any, None]]


def run(test: Test) -> None:
    async def whole() -> None:
        clock = FakeClock()
        async with asyncio.timeout(30), serving() as (server, address):
            await test(Resolver(clock.monotonic, (address,)), server, clock)

    uvloop.run(whole())


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Dns, str]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Dns, ("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    try:
        yield server, f"{host}:{port}"
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("domain", "resolution"),
    [
        ("two.example", Mx(("a.mx.example", "b.mx.example"))),
        ("null.example", NullMx()),
        ("odd.example", Mx(("a.mx.example",))),
        ("none.example", Mx(("none.example",))),
        ("gone.example", NoDomain()),
    ],
)
def test_an_answer_of_the_dns_is_read(domain: str, resolution: Resolution) -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        assert await resolver.resolve(domain) == resolution
        assert resolver.cached(domain) == resolution

    run(test)


@pytest.mark.parametrize("domain", ["broken.example", "refused.example"])
def test_a_failure_of_the_dns_says_nothing_about_the_domain_and_is_not_kept(domain: str) -> None:
    async def test(resolver: Resolver, server: Dns, clock: FakeClock) -> None:
        assert isinstance(await resolver.resolve(domain), Unresolved)
        assert resolver.cached(domain) is None

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


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_a_nameserver_may_have_a_port(text: str, address: str, port: int) -> None:
    found = _nameserver(text)
    assert (found.answer_nameserver(), found.answer_port()) == (address, port)
