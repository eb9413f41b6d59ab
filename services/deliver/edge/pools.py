"""Connection pools, one per site: they take a message to its outcome.

Owns: choosing the site of a message, the pools by site, the check of their deadlines. Does not
own: one site's pool (site_pool.py), one connection's dialog (connection.py), the meaning of an
answer (core/classify.py), where a domain is delivered (core/routing.py, resolver.py).

Guarantees: send() never raises for anything remote. An unreachable site costs one attempt to
connect per pause, not one per message; its mail is deferred. A reused connection that turns out to
be closed costs nothing: the message goes over a fresh one.
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
    """The pools of all sites. Use it in one event loop; call start() in that loop first."""

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
            pool = SitePool(site, self.settings, self.failpoints, self)
            self._pools[site.name] = pool
        parcel = Delivery(envelope, content, begin)
        pool.add(parcel)
        return await parcel.future

    def outcome(
        self, site: Site, wire: SmtpConnection, parcel: Delivery, ending: TransactionResult
    ) -> Outcome:
        """Map a finished transaction to an outcome."""
        where = ConnectionInfo(site.name, wire.source, wire.tls, wire.tls_fault)
        match ending:
            case Finished(stage, reply):
                # MAIL is the first command: any answer to it counts as dispatched.
                return answered(self._rules, stage, reply, True, where)
            case Broken(reason=reason, in_doubt=in_doubt):
                return unanswered(reason, parcel.answered, in_doubt, where)
            case Unsendable():
                return unsendable(ending.value, where)

    def unreachable(self, site: Site, was_answered: bool, fault: Refused | str) -> Outcome:
        """Map a failure to connect to an outcome."""
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
