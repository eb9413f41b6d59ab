"""A limit that is hardly used has leases that live longer; it is kept as exactly as any other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from services.deliver.core.shaping.allowance import BURST_S
from services.deliver.core.shaping.held_lease import LEASE_S, LONG_LEASE_S, SMALL_PART, HeldLease
from services.deliver.edge.shaping.lease_client import Stores
from shared.store.leases import GRACE_MS, Answer, Caller, Request
from tests.support.limited_workers import (
    SENDER,
    TO,
    LimitedWorker,
    OneMessage,
    all_sent,
    all_working,
    most_within,
)
from tests.support.memory_limits import MemoryLeases, MemoryStates
from tests.support.virtual_loop import run_virtually

NOW: Final = 1_000.0
MOST: Final = 1_000.0
SMALL: Final = MOST * SMALL_PART
WORKERS: Final = 3
RATE: Final = 9_000
# What each worker sends per second while it sends little.
PACE: Final = 40
PACED_S: Final = 5.0
# The store shares nothing before this time.
BEGINS_S: Final = GRACE_MS / 1_000 + 1


class Counted(MemoryLeases):
    """Counts the calls that want a lease."""

    calls = 0

    async def ask(self, caller: Caller, requests: Sequence[Request]) -> Answer:
        self.calls += any(each.wanted for each in requests)
        return await super().ask(caller, requests)


class PacedWorker(LimitedWorker):
    """Sends PACE messages per second for a time, and then as many as its limits admit."""

    paced_s = PACED_S

    async def send(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(BEGINS_S)
        until, group = loop.time() + self.paced_s, self.throttle.group(TO, SENDER, 0.0)
        group.joined(1)
        while loop.time() < until:
            at = group.admit(OneMessage(), loop.time(), 1)
            if not at:
                self.sent.append(loop.time())
                await asyncio.sleep(1 / PACE)
                continue
            await self.until_granted(min(1 / PACE, max(0.001, at - loop.time())))
        await super().send()


def three_workers(limit: str) -> tuple[Counted, list[PacedWorker]]:
    leases = Counted(asyncio.get_running_loop().time)
    stores = Stores(leases, MemoryStates())
    return leases, [PacedWorker(f"w{n}", limit, stores) for n in range(WORKERS)]


@pytest.mark.parametrize(
    ("amount", "lasts_s"), [(1, LONG_LEASE_S), (SMALL, LONG_LEASE_S), (SMALL + 1, LEASE_S)]
)
def test_only_a_small_lease_lives_longer(amount: float, lasts_s: float) -> None:
    lease = HeldLease()
    lease.add(amount, NOW, 7, MOST)
    assert lease.left(NOW + lasts_s - 0.001) == amount
    assert lease.left(NOW + lasts_s) == 0
    assert lease.asked(NOW + 1) == (amount, 7)


@pytest.mark.parametrize(
    ("spent", "waits", "demand"),
    [
        pytest.param(20, 1, 24.0, id="too much for a small lease: 0.12 s of the use"),
        pytest.param(10, 1, 45.0, id="0.45 s of the use"),
        pytest.param(10, 70, 70.0, id="what waits"),
        pytest.param(10, 90, 90.0, id="more waits than a small lease allows"),
        pytest.param(0, 1, 1.0, id="not used"),
    ],
)
def test_a_small_lease_is_enough_for_its_longer_time(
    spent: int, waits: float, demand: float
) -> None:
    lease = HeldLease()
    lease.add(spent, NOW, 7, MOST)
    lease.asked(NOW)
    lease.spend(spent)
    assert lease.demand(NOW + 0.1, waits, MOST) == pytest.approx(demand)


def test_a_limit_that_is_hardly_used_is_asked_for_a_few_times_per_second() -> None:
    async def run() -> None:
        leases, made = three_workers(f"messages = '{RATE}/s'")
        async with all_working(made):
            await asyncio.sleep(BEGINS_S + 1)
            before = leases.calls
            await asyncio.sleep(2)
            assert leases.calls - before <= WORKERS * 2 * 6
        assert len(all_sent(made)) >= WORKERS * 3 * PACE * 0.9

    run_virtually(run())


def test_workers_that_sent_little_exceed_a_rate_by_their_small_leases_at_most() -> None:
    async def run() -> None:
        _, made = three_workers(f"messages = '{RATE}/s'")
        async with all_working(made):
            await asyncio.sleep(BEGINS_S + PACED_S + 1)
        small_s = 2 * SMALL_PART * BURST_S
        for window_s in (0.1, 0.5, 1.0):
            most = RATE * (window_s + BURST_S + LEASE_S + small_s) + WORKERS
            assert most_within(all_sent(made), window_s) <= most
        assert len(all_sent(made)) >= RATE * 0.9

    run_virtually(run())


def test_an_emptied_store_counts_what_was_spent_of_small_leases_of_a_window() -> None:
    async def run() -> None:
        leases, made = three_workers("messages = '1000000 in 1h'")
        for each in made:
            each.paced_s = 60.0
        async with all_working(made):
            await asyncio.sleep(BEGINS_S + 2.05)
            leases.flush()
            emptied_at = asyncio.get_running_loop().time()
            await asyncio.sleep(8)
        sent = all_sent(made)
        (of,) = made[0].throttle.allowances
        assert leases.used(of.name) >= len(sent)
        first, last = emptied_at + LONG_LEASE_S, emptied_at + GRACE_MS / 1_000
        assert not [at for at in sent if first < at < last], "nothing is sent in the grace"
        assert sent[-1] > last, "and it is used again afterwards"

    run_virtually(run())
