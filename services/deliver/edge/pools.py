"""Connection pools, one for each site: the way from a message to its outcome.

Owns: the site of a message, the pools by site, the watch over their deadlines. Does not own:
one site's pool (site_pool.py), one connection's dialog (connection.py), what an answer means
(core/classify.py), where a domain is delivered (core/routing.py, resolver.py).

Promises: send() never raises for anything remote. A site that cannot be reached costs one
try to connect for each pause, not one for each message; its mail is deferred. A reused
connection that turns out to be closed costs nothing: the message goes over a fresh one.
"""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import Callable
from typing import Final

from services.deliver.core import classify
from services.deliver.core.answers import (
    ConnectionInfo,
    answered,
    unanswered,
    unroutable,
    unsendable,
)
from services.deliver.core.outcome import Outcome
from services.deliver.core.routing import Mx, Routes, Site, site_of_mx
from services.deliver.edge.connection import (
    GOODBYE_S,
    Broken,
    Failpoints,
    Refused,
    SmtpConnection,
    TransactionResult,
)
from services.deliver.edge.resolver import Resolver
from services.deliver.edge.site_pool import Delivery, PoolSettings, SitePool
from shared.smtp.client.session import Unsendable
from shared.smtp.events import Finished
from shared.topics.records import Envelope

__all__ = ["PoolSettings", "Pools"]

SWEEP_S: Final = 0.5
CLOSE_LOOK_S: Final = 0.02


class Pools:
    """Every site's pool. Use it in one loop; call start() in it first."""

    def __init__(
        self,
        settings: PoolSettings,
        routes: Routes,
        resolver: Resolver,
        failpoints: Failpoints,
    ) -> None:
        self.settings = settings
        self.failpoints = failpoints
        self._routes = routes
        self._resolver = resolver
        self._pools: dict[str, SitePool] = {}
        text = importlib.resources.files("services.deliver.rules").joinpath("replies.toml")
        self._rules = classify.parse_rules(text.read_text(encoding="utf-8"))
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch deadlines."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @property
    def connections(self) -> int:
        """Open connections, over all sites."""
        return sum(pool.connections for pool in self._pools.values())

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool] | None = None
    ) -> Outcome | None:
        """Attempt a delivery.

        `begin` is asked just before the message would go out, or be given an outcome without;
        where it says no, nothing is sent and the answer is None.
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
            pool = SitePool(site, self.settings, self.failpoints, self)
            self._pools[site.name] = pool
        parcel = Delivery(envelope, content, begin)
        pool.add(parcel)
        return await parcel.future

    def outcome(
        self, site: Site, wire: SmtpConnection, parcel: Delivery, ending: TransactionResult
    ) -> Outcome:
        """What the end of a transaction means."""
        where = ConnectionInfo(site.name, wire.source, wire.tls, wire.tls_fault)
        match ending:
            case Finished(stage, reply):
                # MAIL is the first thing that is said: whatever was answered, it dispatched.
                return answered(self._rules, stage, reply, True, where)
            case Broken(reason=reason, in_doubt=in_doubt):
                return unanswered(reason, parcel.answered, in_doubt, where)
            case Unsendable():
                return unsendable(ending.value, where)

    def unreachable(self, site: Site, was_answered: bool, fault: Refused | str) -> Outcome:
        """What it means that no connection could be had."""
        where = ConnectionInfo(site.name)
        if isinstance(fault, Refused):
            return answered(self._rules, fault.stage, fault.reply, was_answered, where)
        return unanswered(f"No connection: {fault}", was_answered, False, where)

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
        """Close every connection, with a goodbye where it is idle; bounded in time."""
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
