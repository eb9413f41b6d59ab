"""Domains whose exchangers cannot be used: what the DNS is sure of bounces, the rest waits."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import dns.rcode
import pytest

from services.deliver.core.attempt.results import Bounced, ConnectFault, Deferred, NoLogin, Outcome
from services.deliver.core.routing.candidates import Candidate
from services.deliver.core.routing.sites import Host, Routes
from services.deliver.core.sources.table import Source
from services.deliver.core.tls.policy import HostTls
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.dns.site_addresses import AddressPolicy
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.smtp.connecting import Connected
from services.deliver.edge.smtp.connection import SmtpConnection
from services.deliver.edge.tracing.dialog import Dialog
from services.deliver.sending import load_outcome_rules
from tests.support.dns_server import Zone, serving
from tests.support.pool_talk import ROOM, SETTINGS, run, send

ZONE: Zone = {
    ("self.example.", "MX"): ["10 localhost."],
    ("literal.example.", "MX"): ["10 192.0.2.1."],
    ("loop.example.", "MX"): ["10 loop.mx.example."],
    ("loop.mx.example.", "A"): ["127.0.0.1"],
    ("loop.mx.example.", "AAAA"): ["::1"],
    ("inside.example.", "MX"): ["10 inside.mx.example.", "20 loop.mx.example."],
    ("inside.mx.example.", "A"): ["10.255.255.1"],
    ("nowhere.example.", "MX"): ["10 gone.mx.example.", "20 bare.mx.example."],
    ("gone.mx.example.", "A"): dns.rcode.NXDOMAIN,
    ("gone.mx.example.", "AAAA"): dns.rcode.NXDOMAIN,
    ("unsure.example.", "MX"): ["10 gone.mx.example.", "20 broken.mx.example."],
    ("broken.mx.example.", "A"): dns.rcode.SERVFAIL,
    ("broken.mx.example.", "AAAA"): dns.rcode.SERVFAIL,
    ("implicit.example.", "A"): ["127.0.0.1"],
    ("broken.example.", "MX"): dns.rcode.SERVFAIL,
}


class Refusing:
    """Opens no connection, so that nothing leaves this host."""

    def from_source(self, source: Source) -> Refusing:
        return self

    def refusal(self, host: Host) -> NoLogin | None:
        return None

    async def connect(self, candidates: Sequence[Candidate], within_s: float) -> Connected:
        return Connected(None, None, tuple((candidate, "refused") for candidate in candidates))

    async def open(
        self,
        candidate: Candidate,
        sock: socket.socket,
        tls: HostTls,
        dialog: Dialog | None = None,
    ) -> SmtpConnection | ConnectFault:
        raise AssertionError("nothing is connected")


def send_to(domain: str, *, allow_private: bool = False) -> Outcome:
    async def test() -> Outcome:
        async with serving(ZONE) as (_, address):
            routing = Routing(
                Routes({}),
                Resolver(time.monotonic, (address,)),
                AddressPolicy(lambda items: items.reverse(), allow_private),
            )
            pools = Pools(SETTINGS, ROOM, routing, Refusing(), load_outcome_rules())
            try:
                return await send(pools, f"a@{domain}")
            finally:
                await pools.close()

    return run(test())


@pytest.mark.parametrize(
    ("domain", "enhanced", "word"),
    [
        ("self.example", "5.4.4", "localhost is this host itself"),
        ("literal.example", "5.4.4", "192.0.2.1 is an IP address"),
        ("loop.example", "5.4.4", "127.0.0.1 is a loopback address"),
        ("inside.example", "5.4.4", "10.255.255.1 is a private address"),
        ("nowhere.example", "5.4.4", "gone.mx.example has no address"),
        ("implicit.example", "5.4.4", "127.0.0.1 is a loopback address"),
        ("bare.example", "5.1.2", "no MX, A or AAAA record"),
    ],
)
def test_a_domain_that_surely_has_no_usable_server_bounces(
    domain: str, enhanced: str, word: str
) -> None:
    outcome = send_to(domain)
    assert isinstance(outcome, Bounced)
    assert (outcome.enhanced, outcome.bounce_class) == (enhanced, "hard")
    assert word in outcome.reason
    assert not outcome.dispatched


@pytest.mark.parametrize("domain", ["unsure.example", "broken.example"])
def test_a_failing_dns_bounces_nobody(domain: str) -> None:
    outcome = send_to(domain)
    assert isinstance(outcome, Deferred)
    assert outcome.bounce_class == "network"


def test_private_addresses_are_tried_if_they_are_allowed() -> None:
    outcome = send_to("inside.example", allow_private=True)
    assert isinstance(outcome, Deferred)
    assert "inside.mx.example[10.255.255.1]:25: refused" in outcome.reason
    assert isinstance(send_to("loop.example", allow_private=True), Bounced)
