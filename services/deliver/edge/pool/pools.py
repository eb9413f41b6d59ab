"""Sends messages over connection pools, one per source and site, and returns their outcomes.

Owns: the choice of the site and the source of a message, the pool of each source and site, the
history of the sites' addresses, the check of the pools' time limits. Does not own: one site's pool
(site_pool.py), one connection's dialog (smtp/connection.py), the meaning of an answer
(core/attempt/verdicts.py), the routing of a domain (core/routing, dns/resolver.py), the list of
sources (sources/).

Guarantees: send() never raises for a remote fault. An unreachable site gets one attempt to connect
per pause, not one per message, and its mail is deferred. The messages of a slow site cannot use all
the room for messages in flight, because other sites need this room. If a message cannot be sent
from one source, it is sent from the next source of the source pool. If the pool has no other
source, the message is deferred with the reason. If a reused connection turns out to be closed, the
message is sent over a new connection within the same attempt.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.results import Busy, Deferred, NoSource, Outcome
from services.deliver.core.attempt.verdicts import unroutable
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.pool.slow_sites import Room, SlowSites
from services.deliver.core.routing.candidates import Histories
from services.deliver.core.routing.sites import Mx, NoServers, Routes, Site, site_of_mx
from services.deliver.core.shaping.keys import Destination
from services.deliver.core.sources.table import Source
from services.deliver.edge.control.control import Control
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.dns.site_addresses import AddressPolicy, SiteAddresses
from services.deliver.edge.pool.delivery import Delivery, OutcomeRules, SevenBit
from services.deliver.edge.pool.site_hosts import Opener, SiteHosts
from services.deliver.edge.pool.site_pool import SitePool
from services.deliver.edge.pool.turning_away import WARMING
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.smtp.connection import GOODBYE_S
from services.deliver.edge.sources.selecting import Sources
from services.deliver.edge.tls.policies import TlsPolicies
from services.deliver.edge.tracing.tracer import Tracer
from shared.topics.records import Envelope

SWEEP_S: Final = 0.5
CLOSE_LOOK_S: Final = 0.02
MAX_DESTINATIONS: Final = 20_000


class Routing(Struct, frozen=True):
    """The parts that find the servers of a domain and decide how to reach them.

    If `tls` is None, all servers get opportunistic TLS.
    """

    routes: Routes
    resolver: Resolver
    policy: AddressPolicy = AddressPolicy(random.shuffle)
    tls: TlsPolicies | None = None
    # The operators' orders, which may change the destination of mail.
    control: Control | None = None
    # Our source addresses. If `sources` is None, the system chooses the local address.
    sources: Sources | None = None
    # The tracer, which shows SMTP dialogs to operators.
    tracer: Tracer | None = None


def attempts_of(sources: list[Source]) -> list[tuple[Source, bool]]:
    """Return the sources in their order, each with a flag.

    The flag is True if other sources send the mail that exceeds the warm-up limit of this source.
    """
    return [(source, len(sources) > 1) for source in sources]


class Pools:
    """The pools of all sites. Use it in one event loop; call start() in that loop first."""

    def __init__(
        self,
        limits: PoolLimits,
        room: Room,
        routing: Routing,
        opener: Opener,
        rules: OutcomeRules,
        *,
        shaper: Shaper | None = None,
    ) -> None:
        """If `shaper` is None, mail is sent as fast as the sites accept it."""
        self._sources = routing.sources or Sources()
        self._openers: dict[str, Opener] = {}
        self._shaper = shaper
        self._tls = routing.tls
        self._control = routing.control
        self._destinations: dict[tuple[str, str], Destination] = {}
        self._limits = limits
        self._slow_sites = SlowSites(room)
        self._routing = routing
        self._opener = opener
        self._rules = rules
        self._finder = SiteAddresses(routing.resolver, routing.policy)
        self._histories = Histories()
        self._pools: dict[str, SitePool] = {}
        # The number of slow sites at the last sweep.
        self.slow_sites = 0
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start checking deadlines."""
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    @property
    def connections(self) -> int:
        """Return the number of open connections to all sites."""
        return sum(pool.connections for pool in self._pools.values())

    async def send(
        self,
        envelope: Envelope,
        content: bytes,
        begin: Callable[[], bool] | None = None,
        *,
        seven_bit: SevenBit | None = None,
    ) -> Outcome | None:
        """Attempt a delivery.

        If `content` has 8-bit bytes, `seven_bit` converts the content for a server without
        8BITMIME. If `seven_bit` is None, the message is not sent to such a server.

        `begin` is called just before the message is sent. If the message is not sent, `begin` is
        called just before the outcome is set. If `begin` returns false, nothing is sent and the
        result is None.
        """
        domain = envelope.recipient.rpartition("@")[2].lower()
        known = self._rerouted(envelope) or self._routing.routes.site_of(domain)
        site = known or await self._resolved(domain)
        if not isinstance(site, Site):
            return None if begin is not None and not begin() else unroutable(domain, site)
        site = self._placed(envelope, domain, site)
        found = self._sources.of(envelope)
        fault = found if isinstance(found, NoSource) else NoSource("")
        tries = [] if isinstance(found, NoSource) else attempts_of(found)
        while tries:
            source, may_overflow = tries.pop(0)
            delivery = Delivery(envelope, content, begin, seven_bit)
            delivery.may_overflow = may_overflow
            outcome = await self._send_from(source, delivery, envelope, domain, site)
            if not isinstance(outcome, NoSource):
                return outcome
            if outcome.is_warming:
                # All other sources were tried. So the message may wait until this source can send
                # again, as it waits for any other limit.
                tries.append((source, False))
                continue
            fault = outcome
            self._sources.failed(source, fault)
        if begin is not None and not begin():
            return None
        return self._rules.no_connection(fault, False, site.name)

    async def _resolved(self, domain: str) -> Site | NoServers:
        """Return the site to which the MX records of a domain refer, or why no site was found."""
        resolver = self._routing.resolver
        resolution = resolver.cached(domain) or await resolver.resolve(domain)
        return site_of_mx(resolution) if isinstance(resolution, Mx) else resolution

    async def _send_from(
        self, source: Source, delivery: Delivery, envelope: Envelope, domain: str, site: Site
    ) -> Outcome | NoSource | None:
        """Send from one source and return the outcome.

        The outcome is NoSource if the message could not be sent because of the source.
        """
        shaper, tls = self._shaper, self._tls
        group = None
        if shaper is not None:
            known = self._destinations.get((domain, site.name))
            to = known or self._destination(shaper, domain, site)
            group = delivery.group = shaper.group(envelope, to, source.name)
            if delivery.may_overflow and shaper.overflows(group):
                return WARMING
            is_back = envelope.due_at_ms > 0
            held = shaper.held(group, "" if is_back else envelope.lane, is_back=is_back)
            if held is not None:
                if delivery.begin is not None and not delivery.begin():
                    return None
                shaper.retry_holds.note(envelope, group)
                busy = Busy(held.delay_s, held.reason, held.is_turn)
                return self._rules.no_connection(busy, False, site.name)
        if tls is not None and tls.may_ask(site):
            site = await tls.secured(site, domain, envelope.client)
        self._pool(site, domain, source).add(delivery)
        outcome = await delivery.future
        if delivery.source_fault is not None:
            return delivery.source_fault
        if tls is not None:
            tls.count(domain, outcome)
        if shaper is not None and group is not None and isinstance(outcome, Deferred):
            return replace(outcome, retry_steps=shaper.retry_steps(group.to))
        return outcome

    def _rerouted(self, envelope: Envelope) -> Site | None:
        return self._control.site_of(envelope) if self._control is not None else None

    def _placed(self, envelope: Envelope, domain: str, site: Site) -> Site:
        """Record the site of a domain. Return this site, or the site that an order sets instead."""
        control = self._control
        if control is None or (control.has_orders and control.site_of(envelope) is site):
            return site
        provider = ""
        if self._shaper is not None:
            provider = self._destination(self._shaper, domain, site).provider
        control.resolved(domain, site, provider)
        return (control.site_of(envelope) if control.has_orders else None) or site

    def _destination(self, shaper: Shaper, domain: str, site: Site) -> Destination:
        found = self._destinations.get((domain, site.name))
        if found is None:
            if len(self._destinations) >= MAX_DESTINATIONS:
                self._destinations.clear()
            found = shaper.destination(domain, site)
            self._destinations[domain, site.name] = found
        return found

    def _pool(self, site: Site, domain: str, source: Source) -> SitePool:
        key = f"{site.pool} {source.name}" if source.name else site.pool
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._make_pool(key, site, domain, source)
        return pool

    def _make_pool(self, key: str, site: Site, domain: str, source: Source) -> SitePool:
        # Each source has its own history, because a server may refuse one of our addresses and
        # accept another.
        history = self._histories.of(key)
        opener = self._opener_of(source)
        hosts = SiteHosts(site, opener, self._finder, history, self._tls, source=source)
        limits = self._limits
        if self._shaper is not None:
            to = self._destination(self._shaper, domain, site)
            limits = self._shaper.pool_limits(to, limits)
        tracer = self._routing.tracer
        return SitePool(site.name, limits, hosts, self._rules, self._shaper, tracer=tracer)

    def _opener_of(self, source: Source) -> Opener:
        if not source.name:
            return self._opener
        found = self._openers.get(source.name)
        if found is None:
            found = self._openers[source.name] = self._opener.from_source(source)
        return found

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            loads = {name: pool.load(now) for name, pool in self._pools.items()}
            slow = self._slow_sites.shares(loads, now)
            self.slow_sites = len(slow)
            if self._shaper is not None:
                sites = frozenset(self._pools[name].site for name in slow)
                self._shaper.retry_holds.slow_sites = sites
            for name, pool in list(self._pools.items()):
                pool.restrict(slow.get(name))
                pool.sweep(now)
                if pool.is_forgettable(now):
                    del self._pools[name]

    async def close(self) -> None:
        """Close every connection within a bounded time. An idle connection is closed with QUIT."""
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
