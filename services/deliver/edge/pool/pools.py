"""Connection pools, one per site: they take a message to its outcome.

Owns: choosing the site of a message, the pools by site, the check of their time limits. Does not
own: one site's pool (site_pool.py), one connection's dialog (smtp/connection.py), the meaning of an
answer (core/attempt/verdicts.py), where a domain is delivered (core/routing, dns/resolver.py).

Guarantees: send() never raises for anything remote. An unreachable site costs one attempt to
connect per pause, not one per message; its mail is deferred. A reused connection that turns out to
be closed costs nothing: the message goes over a fresh one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.attempt.verdicts import unroutable
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.routing.sites import Mx, Routes, site_of_mx
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.site_pool import Delivery, Opener, OutcomeRules, SitePool
from services.deliver.edge.smtp.connection import GOODBYE_S
from shared.topics.records import Envelope

SWEEP_S: Final = 0.5
CLOSE_LOOK_S: Final = 0.02


class Pools:
    """The pools of all sites. Use it in one event loop; call start() in that loop first."""

    def __init__(
        self,
        limits: PoolLimits,
        routes: Routes,
        resolver: Resolver,
        opener: Opener,
        rules: OutcomeRules,
    ) -> None:
        self._limits = limits
        self._routes = routes
        self._resolver = resolver
        self._opener = opener
        self._rules = rules
        self._pools: dict[str, SitePool] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start checking deadlines."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @property
    def connections(self) -> int:
        """Open connections, over all sites."""
        return sum(pool.connections for pool in self._pools.values())

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool] | None = None
    ) -> Outcome | None:
        """Attempt a delivery.

        `begin` is called just before the message is sent or gets an outcome without being sent.
        If it returns false, nothing is sent and the result is None.
        """
        domain = envelope.recipient.rpartition("@")[2].lower()
        site = self._routes.site_of(domain)
        if site is None:
            resolution = self._resolver.cached(domain) or await self._resolver.resolve(domain)
            if not isinstance(resolution, Mx):
                if begin is not None and not begin():
                    return None
                return unroutable(domain, resolution)
            site = site_of_mx(resolution)
        pool = self._pools.get(site.name)
        if pool is None:
            pool = SitePool(site, self._limits, self._opener, self._rules)
            self._pools[site.name] = pool
        delivery = Delivery(envelope, content, begin)
        pool.add(delivery)
        return await delivery.future

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for name, pool in list(self._pools.items()):
                pool.sweep(now)
                if pool.is_forgettable(now):
                    del self._pools[name]

    async def close(self) -> None:
        """Close every connection, idle ones with QUIT; takes a bounded time."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        loop = asyncio.get_running_loop()
        until = loop.time() + GOODBYE_S
        for pool in list(self._pools.values()):
            pool.close()
        while self.connections and loop.time() < until:  # noqa: ASYNC110 - several pools
            await asyncio.sleep(CLOSE_LOOK_S)
        for pool in list(self._pools.values()):
            pool.abort()
        await asyncio.sleep(0)
