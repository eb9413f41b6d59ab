"""Workers that share limits: each sends as fast as it is allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import redis.asyncio
from msgspec import Struct

from services.deliver.core.shaping.allowance import BURST_S
from services.deliver.core.shaping.held_lease import LEASE_S
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Workers
from services.deliver.edge.pool.pools import SWEEP_S
from services.deliver.edge.shaping.lease_client import LeaseClient, Stores
from shared.runtime.clock import SystemClock
from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.leases import LeaseStore
from shared.store.suspensions import SuspensionStore

ENDING_S = 120.0
# The tests check that a limit is kept in every window of these lengths.
WINDOWS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
TO = Destination("r.example", "mx.r.example", "big")
SENDER = Party("shop", "news", "news.example.com")


class OneMessage(Struct, frozen=True):
    size_bytes: int = 1_000


class SendingWorker:
    """One of three workers, with these rules: its throttle and its calls."""

    def __init__(self, name: str, rules: str, stores: Stores) -> None:
        self.throttle = Throttle(combine([parse_file(rules, "test")]), Workers(3))
        self._granted = asyncio.Event()
        self.calls = LeaseClient(self.throttle, stores, name, SystemClock(), self._granted.set)

    async def send(self) -> None:
        """Send without end."""
        raise NotImplementedError

    async def until_granted(self, wait_s: float) -> None:
        """Request leases for the limits; wait for the answer, at most this time."""
        self.calls.want()
        self._granted.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._granted.wait()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.calls.run()), asyncio.create_task(self.send())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            _, running = await asyncio.wait(tasks, timeout=ENDING_S)
            assert not running, "a task did not end"


class LimitedWorker(SendingWorker):
    """A worker with limits of a provider, and when it sent (seconds of the loop)."""

    def __init__(self, name: str, limits: str, stores: Stores) -> None:
        super().__init__(name, f"[provider.big]\nmx = ['r.example']\n{limits}", stores)
        self.sent: list[float] = []

    async def send(self) -> None:
        """Send without end; send each message as soon as the limits admit it."""
        loop = asyncio.get_running_loop()
        group = self.throttle.group(TO, SENDER, 0.0)
        while True:
            at = group.admit(OneMessage(), loop.time(), 100)
            if not at:
                self.sent.append(loop.time())
                # The other workers and the calls have their turn after each message.
                await asyncio.sleep(0)
                continue
            # A pool looks again at each of its sweeps.
            await self.until_granted(min(SWEEP_S, max(0.01, at - loop.time())))


def stores(client: redis.asyncio.Redis, tag: str) -> Stores:
    """Return the stores of one worker in a real Redis."""
    return Stores(LeaseStore(client, tag), SuspensionStore(client, tag))


@asynccontextmanager
async def all_working(made: Sequence[LimitedWorker]) -> AsyncIterator[None]:
    """All these workers work during the block."""
    async with AsyncExitStack() as stack:
        for each in made:
            await stack.enter_async_context(each.working())
        yield


@asynccontextmanager
async def workers(
    url: str, tag: str, limits: str, count: int = 3
) -> AsyncIterator[list[LimitedWorker]]:
    """Yield this many workers, which do not work yet, each with its own client of a real Redis."""
    clients = [connect_async(RedisSettings(url=url), retry=NO_RETRY) for _ in range(count)]
    try:
        yield [LimitedWorker(f"w{n}", limits, stores(each, tag)) for n, each in enumerate(clients)]
    finally:
        for client in clients:
            await client.aclose()


def all_sent(made: Sequence[LimitedWorker]) -> list[float]:
    """Return the times at which these workers sent, in ascending order."""
    return sorted(at for each in made for at in each.sent)


def most_within(sent: Sequence[float], window_s: float) -> int:
    """Return the largest number of messages in any window of this length."""
    times = sorted(sent)
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def excess(sent: Sequence[float], rate: float) -> float:
    """Return the highest number of messages above a rate, in any window of WINDOWS_S."""
    return max(most_within(sent, window_s) - rate * window_s for window_s in WINDOWS_S)


def most_excess(rate: float) -> float:
    """Return the permitted excess of a limit: the burst, and leases that were granted before."""
    return rate * (BURST_S + LEASE_S) + 3
