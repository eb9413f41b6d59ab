"""Mail from several source addresses, on the addresses of the loopback network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from services.deliver.core.attempt.results import Deferred, Delivered, Outcome
from services.deliver.core.sources.table import read_sources
from services.deliver.edge.pool.pools import Pools
from services.deliver.edge.sources.selecting import Sources
from tests.support.pool_talk import CONTENT, envelope, pools_to, run
from tests.support.scripted_smtp import Scripted, scripted

T = TypeVar("T")
# A documentation address: no host has it.
GONE = "192.0.2.1"
TWO = {"a": ("a.example.com", "127.0.0.2"), "b": ("b.example.com", "127.0.0.3")}


def from_sources(
    sources: Mapping[str, Sequence[str]],
    test: Callable[[Scripted, Pools, Sources], Coroutine[Any, Any, T]],
    pools: Mapping[str, Sequence[str]] | None = None,
) -> T:
    async def whole() -> T:
        chosen = Sources(read_sources(sources, pools or {}, {}))
        async with (
            scripted(lambda number: {}) as server,
            pools_to(server.address, sources=chosen) as to,
        ):
            return await test(server, to, chosen)

    return run(whole())


async def send(pools: Pools, number: int, pool: str = "") -> Outcome:
    mail = replace(envelope("x@d.example"), mail_id=f"{number:026}", pool=pool)
    outcome = await pools.send(mail, CONTENT)
    assert outcome is not None
    return outcome


async def send_many(pools: Pools, count: int, pool: str = "") -> list[Outcome]:
    return list(await asyncio.gather(*(send(pools, number, pool) for number in range(count))))


def test_each_source_has_connections_of_its_own_with_its_address_and_ehlo_name() -> None:
    async def test(server: Scripted, pools: Pools, _: Sources) -> list[Outcome]:
        outcomes = await send_many(pools, 60)
        assert set(server.hellos) == {
            ("127.0.0.2", "a.example.com"),
            ("127.0.0.3", "b.example.com"),
        }
        return outcomes

    outcomes = from_sources(TWO, test)
    assert {type(one) for one in outcomes} == {Delivered}
    assert {one.source for one in outcomes} == {"127.0.0.2", "127.0.0.3"}


def test_a_pool_sends_from_its_own_sources_only() -> None:
    async def test(_: Scripted, pools: Pools, __: Sources) -> list[Outcome]:
        return await send_many(pools, 20, "bulk")

    outcomes = from_sources(TWO, test, {"bulk": ("b",)})
    assert {one.source for one in outcomes} == {"127.0.0.3"}


def test_a_source_whose_address_is_gone_hands_its_mail_to_the_others_of_its_pool() -> None:
    async def test(_: Scripted, pools: Pools, sources: Sources) -> tuple[list[Outcome], str]:
        return await send_many(pools, 40), sources.health.status()

    outcomes, status = from_sources({**TWO, "a": ("a.example.com", GONE)}, test)
    assert {type(one) for one in outcomes} == {Delivered}
    assert {one.source for one in outcomes} == {"127.0.0.3"}
    assert status.startswith("source a: ")
    assert GONE in status


def test_mail_whose_only_source_is_gone_is_deferred_and_that_of_others_is_sent() -> None:
    async def test(_: Scripted, pools: Pools, __: Sources) -> tuple[Outcome, Outcome]:
        return await send(pools, 1, "dead"), await send(pools, 1, "live")

    sources = {**TWO, "a": ("a.example.com", GONE)}
    dead, live = from_sources(sources, test, {"dead": ("a",), "live": ("b",)})
    assert isinstance(dead, Deferred)
    assert not dead.dispatched
    assert GONE in dead.reason
    assert isinstance(live, Delivered)


def test_a_site_of_the_other_address_family_takes_the_next_source_or_says_why_not() -> None:
    async def test(_: Scripted, pools: Pools, sources: Sources) -> tuple[list[Outcome], Outcome]:
        both = [await send(pools, number) for number in range(10)]
        only = await send(pools, 1, "six")
        assert sources.health.status() == ""
        return both, only

    sources = {"a": ("a.example.com", "127.0.0.2"), "b": ("b.example.com", "::1")}
    both, only = from_sources(sources, test, {"six": ("b",)})
    assert {type(one) for one in both} == {Delivered}
    assert {one.source for one in both} == {"127.0.0.2"}
    assert isinstance(only, Deferred)
    assert "The source b has no IPv4 address" in only.reason


def test_a_pool_that_does_not_exist_defers_with_its_name() -> None:
    async def test(_: Scripted, pools: Pools, __: Sources) -> Outcome:
        return await send(pools, 1, "typo")

    outcome = from_sources(TWO, test)
    assert isinstance(outcome, Deferred)
    assert "'typo'" in outcome.reason
