"""Pools whose dialogs are traced, and the lines of the trace."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from services.deliver.core.routing.sites import Routes
from services.deliver.core.tracing.traces import Traces
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.tracing.tracer import Tracer
from shared.runtime.clock import FakeClock
from shared.runtime.failpoints import Failpoints
from shared.topics.traces import Trace, TraceLine
from tests.support.pool_talk import ROOM, RULES, SETTINGS

TRACE_ID = "0123456789abcdef"


class Ordered:
    """The orders for traces, which a test sets."""

    def __init__(self) -> None:
        self.traces = Traces()


class Tracing(Protocol):
    """An object that has a tracer."""

    tracer: Tracer


class Shown:
    """A tracer that writes to a list."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.source = Ordered()
        self.written: list[TraceLine] = []
        self.tracer = Tracer(self.source, self._append, self.clock, "deliver-0")

    async def _append(self, trace_id: str, lines: Sequence[TraceLine]) -> None:
        assert trace_id == TRACE_ID
        self.written += lines

    async def trace(self, domain: str = "", mail_id: str = "") -> None:
        """Begin to trace."""
        now = self.clock.now_ms()
        trace = Trace(TRACE_ID, domain, mail_id, at_ms=now, expires_at_ms=now + 60_000)
        self.source.traces = Traces([trace], now)
        await self.tracer.flush()

    async def lines(self) -> list[str]:
        """Return the lines of dialogs that were shown since the last call."""
        await self.tracer.flush()
        found = [f"{line.kind} {line.text}" for line in self.written if line.dialog]
        self.written.clear()
        return found


@asynccontextmanager
async def traced_pools(address: str, shown: Tracing) -> AsyncIterator[Pools]:
    """Yield pools that send all mail to one address."""
    opener = Opener("client.example.com", SETTINGS.timeouts, Failpoints.none())
    routing = Routing(Routes({"*": address}), Resolver(time.monotonic), tracer=shown.tracer)
    pools = Pools(SETTINGS, ROOM, routing, opener, RULES)
    pools.start()
    try:
        yield pools
    finally:
        await pools.close()
