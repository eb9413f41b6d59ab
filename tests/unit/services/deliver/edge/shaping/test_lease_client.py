"""The calls for leases, in virtual time: what workers send, whatever happens to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Final

import pytest

from services.deliver.edge.shaping.lease_client import Stores
from shared.store.leases import Answer, Caller, Request
from tests.support.limited_workers import LimitedWorker, all_sent, all_working, most_within
from tests.support.memory_limits import MemoryLeases, MemoryStates
from tests.support.virtual_loop import VirtualLoop, run_virtually

RATE = 200
LIMIT = f"messages = '{RATE}/s'"


async def nothing(leases: MemoryLeases) -> None:
    pass


async def is_emptied(leases: MemoryLeases) -> None:
    leases.flush()


async def is_away_for_a_minute(leases: MemoryLeases) -> None:
    leases.is_away = True
    await asyncio.sleep(60)
    leases.is_away = False


async def restarts_empty(leases: MemoryLeases) -> None:
    leases.is_away = True
    await asyncio.sleep(2)
    leases.flush()
    leases.is_away = False


async def takes_too_long(leases: MemoryLeases) -> None:
    leases.takes_s = 0.6
    await asyncio.sleep(20)
    leases.takes_s = 0.0


async def takes_a_while(leases: MemoryLeases) -> None:
    leases.takes_s = 0.03
    await asyncio.sleep(20)
    leases.takes_s = 0.0


async def stops_the_processes(leases: MemoryLeases) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.pause(60)


Happens = Callable[[MemoryLeases], Awaitable[None]]
# Any limit is kept whatever of this happens.
HAPPENS: Final[list[Happens]] = [
    nothing,
    is_emptied,
    is_away_for_a_minute,
    restarts_empty,
    takes_too_long,
]


async def three_work(made: list[LimitedWorker], happens: Happens, leases: MemoryLeases) -> None:
    """For 15 s, while this happens, and for 15 s after it."""
    async with all_working(made):
        await asyncio.sleep(15)
        await happens(leases)
        await asyncio.sleep(15)


async def one_stops(made: list[LimitedWorker], happens: Happens, leases: MemoryLeases) -> None:
    """The first one stops after 5 s, and this happens 5 s later."""
    async with all_working(made[1:]):
        async with made[0].working():
            await asyncio.sleep(5)
        await asyncio.sleep(5)
        await happens(leases)
        await asyncio.sleep(20)


def sent_by_three(
    limit: str,
    happens: Happens,
    work: Callable[[list[LimitedWorker], Happens, MemoryLeases], Awaitable[None]] = three_work,
) -> list[float]:
    async def run() -> list[float]:
        leases = MemoryLeases(asyncio.get_running_loop().time)
        stores = Stores(leases, MemoryStates())
        made = [LimitedWorker(f"w{n}", limit, stores) for n in range(3)]
        await work(made, happens, leases)
        return all_sent(made)

    return run_virtually(run())


@pytest.mark.parametrize("happens", [*HAPPENS, takes_a_while, stops_the_processes])
def test_a_rate_is_kept_within_2_percent_of_any_10_s(happens: Happens) -> None:
    sent = sent_by_three(LIMIT, happens)
    assert most_within(sent, 10.0) <= RATE * 10 * 1.02
    last = [at for at in sent if at > sent[-1] - 10]
    assert len(last) >= RATE * 10 * 0.98, "and it is used again afterwards"


@pytest.mark.parametrize("happens", [*HAPPENS, takes_a_while])
def test_two_workers_go_on_while_the_third_is_stopped(happens: Happens) -> None:
    """A slow limit is spent without holes, and in full at the end."""
    sent = sent_by_three("messages = '20/s'", happens, one_stops)
    holes = [later - at for at, later in pairwise(sent)]
    assert max(holes) < 2.5
    assert sum(at > sent[-1] - 10 for at in sent) >= 190


@pytest.mark.parametrize("happens", HAPPENS)
def test_a_rolling_window_is_never_exceeded(happens: Happens) -> None:
    sent = sent_by_three("messages = '1000 in 1h'", happens)
    assert len(sent) <= 1_000


def test_a_limit_is_asked_for_again_after_a_call_that_was_too_slow() -> None:
    async def run() -> None:
        leases = MemoryLeases(asyncio.get_running_loop().time)
        worker = LimitedWorker("w", LIMIT, Stores(leases, MemoryStates()))
        async with worker.working():
            await asyncio.sleep(5)
            leases.takes_s = 0.6
            await asyncio.sleep(5)
            leases.takes_s, before = 0.0, len(worker.sent)
            await asyncio.sleep(1)
            assert len(worker.sent) > before + RATE / 2

    run_virtually(run())


class Dropping(MemoryLeases):
    """Drops the cancellation of a call, as asyncio.wait_for() does in Python 3.11."""

    async def ask(self, caller: Caller, requests: Sequence[Request]) -> Answer:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            return await super().ask(caller, requests)
        return await super().ask(caller, requests)


def test_the_calls_end_though_their_cancellation_is_dropped() -> None:
    async def run() -> None:
        leases = Dropping(asyncio.get_running_loop().time)
        worker = LimitedWorker("w", LIMIT, Stores(leases, MemoryStates()))
        calls = asyncio.create_task(worker.calls.run())
        await asyncio.sleep(1.05)
        calls.cancel()
        _, running = await asyncio.wait([calls], timeout=60)
        assert not running

    run_virtually(run())


def test_a_worker_whose_mail_waits_for_one_limit_takes_no_leases_of_another() -> None:
    async def run() -> None:
        leases = MemoryLeases(asyncio.get_running_loop().time)
        stores = Stores(leases, MemoryStates())
        blocked = f"{LIMIT}\n[client.shop]\nmessages = '1 in 1h'"
        made = [LimitedWorker("w1", blocked, stores), LimitedWorker("w2", LIMIT, stores)]
        async with all_working(made):
            await asyncio.sleep(20)
        assert len(made[0].sent) <= 1
        assert most_within(made[1].sent, 10.0) >= RATE * 10 * 0.98

    run_virtually(run())
