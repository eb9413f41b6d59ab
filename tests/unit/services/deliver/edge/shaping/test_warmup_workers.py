"""Three workers share the day's limit of a source that warms up, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.edge.shaping.lease_client import Stores
from shared.topics.reputation import WarmupState
from tests.support.limited_workers import OneMessage, SendingWorker
from tests.support.memory_limits import MemoryLeases, MemoryStates
from tests.support.virtual_loop import VirtualLoop, run_virtually

TO = Destination("gmail.com", "g", "google")
SENDER = Party("shop", "news", "news.example.com", "mx3")
RULES = """
[warmup]
days = [60, 150]
enough = "50%"
passes = "95%"
falls = "80%"
[source.mx3]
warmup = true
"""


class Worker(SendingWorker):
    """Sends as much as the new source takes; the rest overflows."""

    sent = overflowed = 0

    async def send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group = self.throttle.group(TO, SENDER, 0.0)
            if group.overflows(loop.time()):
                self.overflowed += 1
                await asyncio.sleep(1)
            elif group.admit(OneMessage(), loop.time(), 3):
                await self.until_granted(0.5)
            else:
                self.sent += 1
                await asyncio.sleep(0.1)


async def nothing(leases: MemoryLeases) -> None:
    pass


async def is_emptied(leases: MemoryLeases) -> None:
    leases.flush()


async def restarts_empty(leases: MemoryLeases) -> None:
    leases.is_away = True
    await asyncio.sleep(20)
    leases.flush()
    leases.is_away = False


async def stops_the_processes(leases: MemoryLeases) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.pause(60)


FAULTS = [nothing, is_emptied, restarts_empty, stops_the_processes]


@pytest.mark.parametrize("happens", FAULTS)
def test_three_workers_send_no_more_than_the_step_of_the_day_and_leave_the_rest_to_others(
    happens: Callable[[MemoryLeases], Awaitable[None]],
) -> None:
    async def run() -> tuple[int, int, int, int]:
        leases = MemoryLeases(asyncio.get_running_loop().time)
        made = [Worker(f"w{n}", RULES, Stores(leases, MemoryStates())) for n in range(3)]
        async with AsyncExitStack() as stack:
            for each in made:
                await stack.enter_async_context(each.working())
            await asyncio.sleep(2)
            await happens(leases)
            await asyncio.sleep(60)
            first = sum(each.sent for each in made)
            overflowed = min(each.overflowed for each in made)
            for each in made:
                each.throttle.steps.replace([WarmupState("mx3", "google", 1)])
            await asyncio.sleep(60)
            second = sum(each.sent for each in made)
            for each in made:
                each.throttle.steps.replace([WarmupState("mx3", "google", 2)])
            await asyncio.sleep(60)
        return first, overflowed, second, sum(each.sent for each in made)

    first, overflowed, second, third = run_virtually(run())
    assert 50 <= first <= 60
    assert overflowed > 20
    assert 120 <= second <= 150, "the next step adds to the same window"
    assert third > 500, "a warm source has no limit"
