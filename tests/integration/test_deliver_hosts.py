"""The hosts and addresses of a site: which are tried, in which order, and what is remembered."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from bench.smtp_sink import free_port
from services.deliver.core.attempt.results import (
    ConnectFault,
    Deferred,
    Delivered,
    NoConnection,
    Outcome,
    Refusal,
)
from services.deliver.core.routing.candidates import AddressHistory, Candidate
from services.deliver.core.routing.sites import Host, Site
from services.deliver.edge.pool.delivery import Delivery
from services.deliver.edge.pool.site_hosts import MAX_REFUSALS, SiteHosts
from services.deliver.edge.pool.site_pool import SitePool
from services.deliver.edge.smtp.connecting import Connected
from services.deliver.edge.smtp.connection import SmtpConnection, Timeouts
from services.deliver.edge.smtp.opening import Opener
from services.deliver.sending import load_outcome_rules
from shared.runtime.failpoints import Failpoints
from tests.support.pool_talk import CONTENT, SETTINGS, envelope, patience_with, run
from tests.support.scripted_smtp import CLOSE, SILENT, Script, Scripted, scripted

CONNECT_S = 1.0
PATIENT = SETTINGS.timeouts


class Known:
    """Finds the addresses that the test has given."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates

    async def candidates(self, site: Site) -> list[Candidate] | ConnectFault:
        return list(self._candidates)


class Noting(Opener):
    """Notes the addresses of each attempt to connect. Some of them never answer."""

    def __init__(self, timeouts: Timeouts, dead: Sequence[str] = ()) -> None:
        super().__init__("client.example.com", timeouts, Failpoints.none())
        self._dead = dead
        self.tried: list[list[str]] = []

    async def connect(self, candidates: Sequence[Candidate], within_s: float) -> Connected:
        ips = [candidate.ip for candidate in candidates]
        self.tried.append(ips)
        is_vain = all(ip in self._dead for ip in ips)
        return await super().connect(candidates, min(within_s, CONNECT_S) if is_vain else within_s)


def hosts_at(candidates: Sequence[Candidate], opener: Opener | None = None) -> SiteHosts:
    site = Site("site", tuple(candidate.host for candidate in candidates))
    return SiteHosts(site, opener or Noting(PATIENT), Known(candidates), AddressHistory())


async def reach(hosts: SiteHosts) -> None:
    """Open a connection and close it."""
    opened = await hosts.open()
    assert isinstance(opened, SmtpConnection)
    opened.close()


@asynccontextmanager
async def serving(
    first: Script, second: Script, *, is_one_host: bool
) -> AsyncIterator[tuple[list[Scripted], list[Candidate]]]:
    """Two servers: two addresses of one host, or two hosts of different preference."""
    port = free_port()
    one, other = Host("mx1", port), Host("mx1" if is_one_host else "mx2", port, 1 - is_one_host)
    async with (
        scripted(lambda number: first, "127.0.0.1", port) as a,
        scripted(lambda number: second, "127.0.0.2", port) as b,
    ):
        yield [a, b], [Candidate(one, "127.0.0.1"), Candidate(other, "127.0.0.2")]


@contextmanager
def black_hole(ip: str, port: int = 0) -> Iterator[int]:
    """A port that answers no connect: its queue is full."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as listening, socket.socket(family) as filler:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ip, port))
        listening.listen(0)
        filler.connect(listening.getsockname())
        yield listening.getsockname()[1]


FAULTS: list[Script] = [
    {"greeting": b"421 4.7.0 busy\r\n"},
    {"greeting": b"450 4.7.0 later\r\n"},
    {"greeting": b"554 5.7.1 blocked\r\n"},
    {"greeting": CLOSE},
    {"greeting": SILENT},
    {"greeting": b"hello\r\n"},
    {"EHLO": b"550 no\r\n", "HELO": b"550 no\r\n"},
    {"EHLO": b"421 no\r\n"},
    {"EHLO": CLOSE},
    {"EHLO": SILENT},
]


@pytest.mark.parametrize("is_one_host", [True, False], ids=["addresses", "hosts"])
@pytest.mark.parametrize("script", FAULTS, ids=str)
def test_after_any_failure_the_next_address_or_host_is_tried(
    script: Script, is_one_host: bool
) -> None:
    async def test() -> None:
        async with serving(script, {}, is_one_host=is_one_host) as (servers, candidates):
            hosts = hosts_at(candidates, Noting(patience_with(script).timeouts))
            for _ in range(2):
                await reach(hosts)
            # The second connection goes at once to the one that works.
            assert [server.connections for server in servers] == [1, 2]

    run(test())


@pytest.mark.parametrize("script", [{"MAIL": CLOSE}, {"MAIL": b"421 4.7.0 enough\r\n"}])
def test_after_a_push_back_at_mail_the_next_connection_goes_to_another_host(script: Script) -> None:
    async def send(pool: SitePool) -> Outcome | None:
        delivery = Delivery(envelope("a@d.example"), CONTENT, None, None)
        pool.add(delivery)
        return await delivery.future

    async def test() -> None:
        async with serving(script, {}, is_one_host=False) as (servers, candidates):
            pool = SitePool("site", SETTINGS, hosts_at(candidates), load_outcome_rules())
            assert isinstance(await send(pool), Deferred)
            sending = asyncio.ensure_future(send(pool))
            while not sending.done():
                await asyncio.sleep(0.05)
                pool.sweep(asyncio.get_running_loop().time())
            assert isinstance(sending.result(), Delivered)
            assert [server.connections for server in servers] == [1, 1]
            pool.abort()

    run(test())


def test_if_all_hosts_fail_the_words_of_a_server_are_reported() -> None:
    async def test() -> None:
        faults: list[tuple[Script, Script]] = [(FAULTS[2], FAULTS[3]), (FAULTS[3], FAULTS[2])]
        for first, second in faults:
            async with serving(first, second, is_one_host=False) as (_, candidates):
                fault = await hosts_at(candidates).open()
                assert isinstance(fault, Refusal)
                assert fault.reply.code == 554

    run(test())


def with_black_holes(
    count: int, test: Callable[[list[Candidate]], Coroutine[Any, Any, None]]
) -> None:
    """Run a test with so many dead hosts before a live one."""

    async def whole() -> None:
        with ExitStack() as stack:
            ips = [f"127.0.0.{number}" for number in range(3, 3 + count)]
            ports = [stack.enter_context(black_hole(ip)) for ip in ips]
            async with scripted(lambda number: {}) as server:
                good_ip, _, good_port = server.address.rpartition(":")
                candidates = [
                    Candidate(Host(f"mx{rank}", port, rank), ip)
                    for rank, (ip, port) in enumerate(
                        zip([*ips, good_ip], [*ports, int(good_port)], strict=True)
                    )
                ]
                await test(candidates)

    run(whole())


def test_a_dead_host_costs_one_time_out_and_not_one_per_connection() -> None:
    async def test(candidates: list[Candidate]) -> None:
        dead, good = (candidate.ip for candidate in candidates)
        opener = Noting(PATIENT, [dead])
        hosts = hosts_at(candidates, opener)
        for _ in range(5):
            await reach(hosts)
        assert opener.tried == [[dead], *[[good]] * 5]

    with_black_holes(1, test)


def test_the_time_limit_of_a_connect_is_for_each_address() -> None:
    async def test(candidates: list[Candidate]) -> None:
        began = time.monotonic()
        await reach(hosts_at(candidates, Noting(replace(PATIENT, connect_s=CONNECT_S))))
        assert time.monotonic() - began >= 3 * CONNECT_S

    with_black_holes(3, test)


def test_the_other_family_is_tried_while_the_first_is_still_connecting() -> None:
    async def test() -> None:
        port = free_port()
        host = Host("mx", port)
        candidates = [Candidate(host, "::1"), Candidate(host, "127.0.0.1")]
        with black_hole("::1", port):
            async with scripted(lambda number: {}, port=port):
                opener = Noting(PATIENT)  # the first one is not given up before this is over
                hosts = hosts_at(candidates, opener)
                began = time.monotonic()
                for _ in range(2):
                    await reach(hosts)
                assert time.monotonic() - began < PATIENT.connect_s
        assert opener.tried == [["::1", "127.0.0.1"], ["127.0.0.1"]]

    run(test())


def test_an_address_that_lost_no_race_is_tried_if_the_other_one_refuses() -> None:
    async def test() -> None:
        port = free_port()
        host = Host("mx", port)
        candidates = [Candidate(host, "::1"), Candidate(host, "127.0.0.1")]
        async with (
            scripted(lambda number: FAULTS[0], "::1", port) as six,
            scripted(lambda number: {}, port=port) as four,
        ):
            await reach(hosts_at(candidates))
            assert (six.connections, four.connections) == (1, 1)

    run(test())


def test_a_provider_that_is_busy_is_not_asked_at_every_address() -> None:
    async def test() -> None:
        async with scripted(lambda number: FAULTS[0], "0.0.0.0") as server:
            port = int(server.address.rpartition(":")[2])
            ips = [f"127.0.0.{number}" for number in range(1, 3 * MAX_REFUSALS)]
            assert isinstance(
                await hosts_at([Candidate(Host("mx", port), ip) for ip in ips]).open(), Refusal
            )
            assert server.connections == MAX_REFUSALS

    run(test())


def test_without_any_server_the_fault_names_the_address() -> None:
    async def test() -> None:
        host = Host("mx.example", free_port())
        fault = await hosts_at([Candidate(host, "127.0.0.1")]).open()
        assert isinstance(fault, NoConnection)
        assert fault.reason.startswith(f"mx.example[127.0.0.1]:{host.port}: ")

    run(test())
