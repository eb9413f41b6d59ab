"""Helpers of the tests of deliver's pools: envelopes, pools on one route, one loop per test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop
from msgspec.structs import replace

from services.deliver.core.attempt.results import Outcome
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.pool.slow_sites import Room
from services.deliver.core.routing.sites import Routes
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.smtp.connection import Timeouts
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.smtp.server_memory import ServerMemory
from services.deliver.edge.sources.selecting import Sources
from services.deliver.sending import load_outcome_rules
from shared.runtime.failpoints import Failpoints
from shared.topics.records import Envelope, Facts, Origin
from tests.support.patience import PATIENCE_S
from tests.support.scripted_smtp import SILENT, Script, Scripted, scripted

CONTENT = b"Message-ID: <1@news.example.com>\r\nSubject: x\r\n\r\n.dot\r\n"


class PoolSettings(PoolLimits, frozen=True):
    """The limits of a pool, and of its connections. The times are long, so that no connection ends
    on a machine that stands still; a test of a time-out sets a shorter time."""

    timeouts: Timeouts = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=60.0, data_s=60.0)
    uses_chunking: bool = False


SETTINGS = PoolSettings()
RULES = load_outcome_rules()
ROOM = Room(2_000, 64 * 1024 * 1024)
IMPATIENT = replace(SETTINGS, timeouts=Timeouts(0.5, 0.5, 0.5, 0.5))
SHORT_S = 1.0


def patience_with(script: Script) -> PoolSettings:
    """Return settings with short times only for the steps that this server does not answer."""
    silent = {step for step, reply in script.items() if reply == SILENT}
    times = Timeouts(
        connect_s=60.0,
        greeting_s=SHORT_S if "greeting" in silent else 60.0,
        command_s=SHORT_S if silent - {"greeting", "reads", "dot"} else 60.0,
        data_s=SHORT_S if silent & {"reads", "dot"} else 60.0,
    )
    return replace(SETTINGS, timeouts=times)


def envelope(recipient: str) -> Envelope:
    return Envelope(
        mail_id="0" * 26,
        client="shop",
        sender="a@news.example.com",
        recipient=recipient,
        message_id="<1@news.example.com>",
        received_at_ms=0,
        origin=Origin(),
        facts=Facts(),
    )


@asynccontextmanager
async def pools_to(
    address: str, settings: PoolSettings = SETTINGS, sources: Sources | None = None
) -> AsyncIterator[Pools]:
    opener = Opener(
        "client.example.com",
        settings.timeouts,
        Failpoints.none(),
        servers=ServerMemory(uses_chunking=settings.uses_chunking),
    )
    resolver = Resolver(time.monotonic)
    routing = Routing(Routes({"*": address}), resolver, sources=sources)
    pools = Pools(settings, ROOM, routing, opener, RULES)
    pools.start()
    try:
        yield pools
    finally:
        await pools.close()


T = TypeVar("T")


def run(test: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await test

    return uvloop.run(bounded())


async def send(pools: Pools, recipient: str, content: bytes = CONTENT) -> Outcome:
    outcome = await pools.send(envelope(recipient), content)
    assert outcome is not None
    return outcome


def send_one(address: str, recipient: str, settings: PoolSettings = SETTINGS) -> Outcome:
    async def test() -> Outcome:
        async with pools_to(address, settings) as pools:
            return await send(pools, recipient)

    return run(test())


def with_scripted(
    script_of: Callable[[int], Script],
    test: Callable[[Scripted, Pools], Coroutine[Any, Any, T]],
    settings: PoolSettings = SETTINGS,
) -> T:
    async def whole() -> T:
        async with scripted(script_of) as server, pools_to(server.address, settings) as pools:
            return await test(server, pools)

    return run(whole())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is waited for is another side's state
        await asyncio.sleep(0.01)
