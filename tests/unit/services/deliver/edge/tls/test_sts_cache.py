"""MTA-STS policies are cached, shared and refreshed, and outlive their record and their server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.deliver.core.routing.sites import Unresolved
from services.deliver.core.tls.policy import StsMode
from services.deliver.core.tls.sts import CHECK_NONE_S, CHECK_S, RETRY_S, KnownPolicy, StsFault
from services.deliver.edge.tls import mta_sts
from services.deliver.edge.tls.mta_sts import MtaSts
from shared.runtime.clock import FakeClock

DAY_S = 86_400


def text(mode: str = "enforce", max_age_s: int = DAY_S) -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: mx.d.example\nmax_age: {max_age_s}\n".encode()


class Store:
    """The policies of other processes, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, KnownPolicy] = {}

    async def load(self, domain: str) -> KnownPolicy | None:
        return self.kept.get(domain)

    async def save(self, domain: str, known: KnownPolicy) -> None:
        self.kept[domain] = known


class World:
    """A domain, its policy server, and a process that sends to it."""

    def __init__(self, store: Store | None = None, clock: FakeClock | None = None) -> None:
        self.rows: tuple[str, ...] | Unresolved = ("v=STSv1; id=1",)
        self.answer: bytes | StsFault = text()
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []
        self.fetched = 0
        self.faults: list[str] = []
        self.clock = clock or FakeClock()
        self.sts = MtaSts(self._txt, self._fetch, store, self.clock, self._report)

    async def _txt(self, name: str) -> tuple[str, ...] | Unresolved:
        self.asked.append(name)
        return self.rows

    async def _fetch(self, domain: str) -> bytes:
        self.fetched += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, StsFault):
            raise self.answer
        return self.answer

    def _report(self, domain: str, fault: str) -> None:
        self.faults.append(fault)

    async def mode(self) -> StsMode | None:
        """The mode that a message finds, after what it started in the background."""
        policy = await self.sts.policy_of("d.example")
        for _ in range(20):
            await asyncio.sleep(0)
        return policy.mode if policy is not None else None


def run(test: Callable[[World], Awaitable[None]], store: Store | None = None) -> None:
    async def inner() -> None:
        await test(World(store))

    asyncio.run(inner())


def test_the_first_message_waits_for_the_policy_and_the_next_ones_find_it() -> None:
    async def test(world: World) -> None:
        assert [await world.mode() for _ in range(3)] == [StsMode.ENFORCE] * 3
        assert (world.asked, world.fetched) == (["_mta-sts.d.example"], 1)

    run(test)


def test_messages_at_a_time_share_one_look() -> None:
    async def test(world: World) -> None:
        await asyncio.gather(*(world.sts.policy_of("d.example") for _ in range(10)))
        assert (len(world.asked), world.fetched) == (1, 1)

    run(test)


def test_a_domain_without_a_record_is_looked_at_again_later() -> None:
    async def test(world: World) -> None:
        world.rows = ()
        assert [await world.mode(), await world.mode()] == [None, None]
        assert (len(world.asked), world.fetched) == (1, 0)
        world.rows = ("v=STSv1; id=1",)
        world.clock.go_on(CHECK_NONE_S)
        assert await world.mode() is StsMode.ENFORCE

    run(test)


@pytest.mark.parametrize("fault", ["sts-policy-fetch-error: x", "sts-webpki-invalid: x"])
def test_a_failed_fetch_is_reported_and_not_repeated_at_once(fault: str) -> None:
    async def test(world: World) -> None:
        world.answer = StsFault(fault)
        assert [await world.mode(), await world.mode()] == [None, None]
        assert (world.fetched, world.faults) == (1, [fault])
        world.answer = text()
        world.clock.go_on(RETRY_S)
        assert await world.mode() is StsMode.ENFORCE

    run(test)


def test_a_policy_is_used_to_its_end_though_record_and_server_are_gone() -> None:
    async def test(world: World) -> None:
        await world.mode()
        world.answer = StsFault("sts-policy-fetch-error: gone")
        world.rows = ()
        world.clock.go_on(DAY_S - 1)
        assert await world.mode() is StsMode.ENFORCE
        world.rows = Unresolved("SERVFAIL")
        world.clock.go_on(1)
        assert await world.mode() is None

    run(test)


def test_a_new_id_is_fetched_in_the_background() -> None:
    async def test(world: World) -> None:
        await world.mode()
        world.rows, world.answer = ("v=STSv1; id=2",), text("none")
        world.clock.go_on(CHECK_S)
        assert await world.mode() is StsMode.ENFORCE
        assert await world.mode() is StsMode.NONE

    run(test)


def test_a_policy_is_fetched_again_before_its_end_under_the_same_id() -> None:
    async def test(world: World) -> None:
        await world.mode()
        world.clock.go_on(CHECK_S)
        await world.mode()
        assert world.fetched == 1
        world.clock.go_on(DAY_S / 2)
        await world.mode()
        assert world.fetched == 2
        world.clock.go_on(DAY_S - 1)
        assert await world.mode() is StsMode.ENFORCE

    run(test)


def test_a_slow_policy_server_delays_the_first_message_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mta_sts, "WAIT_S", 0.01)

    async def test(world: World) -> None:
        world.gate = asyncio.Event()
        assert [await world.mode(), await world.mode()] == [None, None]
        assert world.fetched == 1
        world.gate.set()
        assert await world.mode() is StsMode.ENFORCE

    run(test)


def test_a_second_process_takes_the_policy_from_the_store() -> None:
    store = Store()

    async def test(world: World) -> None:
        await world.mode()
        other = World(store, world.clock)
        other.answer = StsFault("sts-policy-fetch-error: gone")
        assert await other.mode() is StsMode.ENFORCE
        assert other.fetched == 0

    run(test, store)


def test_servers_that_stall_keep_no_other_domain_from_its_policy() -> None:
    async def test(world: World) -> None:
        world.gate = asyncio.Event()
        stalled = [f"d{number}.example" for number in range(100)]
        waiting = [asyncio.create_task(world.sts.policy_of(each)) for each in stalled]
        while world.fetched < len(stalled):  # noqa: ASYNC110
            await asyncio.sleep(0)
        gate, world.gate = world.gate, None
        assert await world.mode() is StsMode.ENFORCE
        gate.set()
        await asyncio.gather(*waiting)

    run(test)
