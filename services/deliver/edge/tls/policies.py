"""Combines the TLS levels that operators set with the policies that domains and servers publish.

Owns: the queries to the sources, and the creation of the sources and the TLS contexts from the
settings. Does not own: the precedence (core/tls/policy.py), the sources (mta_sts.py,
dane_lookups.py). Guarantees: no method raises while mail is sent. If a source does not answer a
query about a domain, only the messages to this domain are delayed, for a bounded time.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import redis.asyncio
from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.results import Outcome
from services.deliver.core.routing.sites import ANY, Host, Site
from services.deliver.core.tls.policy import (
    Dane,
    HostTls,
    Level,
    NoDane,
    StsPolicy,
    domain_tls,
    host_tls,
    strictest,
)
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.smtp.tls import TlsContexts
from services.deliver.edge.tls.counting import TlsCounter
from services.deliver.edge.tls.dane_lookups import DaneLookups
from services.deliver.edge.tls.mta_sts import MtaSts
from services.deliver.edge.tls.policy_sources import PolicyFetcher, RedisPolicies
from services.deliver.settings import DeliverSettings
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.store.tls_counts import add_counts


class StsSource(Protocol):
    """Finds the MTA-STS policy of a domain."""

    async def policy_of(self, domain: str) -> StsPolicy | None:
        """Return the policy, or None if the domain has no policy. Raises nothing."""
        ...


class DaneSource(Protocol):
    """Finds the TLSA records of a server."""

    async def is_secure(self, domain: str) -> bool:
        """Return whether the MX records of a domain are signed. Raises nothing."""
        ...

    async def dane_of(self, host: Host) -> Dane:
        """Return the records. Raises nothing."""
        ...


class Counting(Protocol):
    """Counts attempts for reports."""

    def attempt(self, domain: str, outcome: Outcome) -> None:
        """Count an attempt for a recipient domain."""
        ...


class Levels(Struct, frozen=True):
    """The TLS levels that operators set, by recipient domain (`*` for all others) and by client."""

    domains: Mapping[str, Level] = {}
    clients: Mapping[str, Level] = {}

    def of(self, domain: str, client: str) -> Level | None:
        """Return the level that applies, or None if the operator sets no level."""
        if not (self.domains or self.clients):
            return None
        by_domain = self.domains.get(domain) or self.domains.get(ANY)
        return strictest(by_domain, self.clients.get(client))


class TlsPolicies:
    """The policies of all domains. If a source of policies is None, it is not queried."""

    def __init__(
        self,
        levels: Levels,
        sts: StsSource | None = None,
        dane: DaneSource | None = None,
        counter: Counting | None = None,
    ) -> None:
        self._levels = levels
        self._sts = sts
        self._dane = dane
        self._counter = counter

    def count(self, domain: str, outcome: Outcome | None) -> None:
        """Count the outcome of an attempt. None means that the message was not attempted."""
        if self._counter is not None and outcome is not None:
            self._counter.attempt(domain, outcome)

    def may_ask(self, site: Site) -> bool:
        """Return whether secured() may add requirements for the connections to this site."""
        if self._levels.domains or self._levels.clients:
            return True
        return not site.is_override and (self._sts is not None or self._dane is not None)

    async def secured(self, site: Site, domain: str, client: str) -> Site:
        """Return the site with the TLS requirements for this client's mail to this domain."""
        level = self._levels.of(domain, client)
        sts, is_signed = None, False
        # If the operator has named the host, the policy of the domain does not apply.
        if level is not Level.OPPORTUNISTIC and not site.is_override:
            if self._sts is not None:
                sts = await self._sts.policy_of(domain)
            if self._dane is not None:
                is_signed = await self._dane.is_secure(domain)
        if level is None and sts is None and not is_signed:
            return site  # most mail
        wanted = domain_tls(level, sts, is_signed=is_signed)
        return replace(site, tls=wanted) if wanted.key else site

    async def host_tls(self, site: Site, host: Host) -> HostTls:
        """Return how connections to a server of a site use TLS."""
        dane: Dane = NoDane()
        if self._dane is not None and site.tls.is_signed:
            dane = await self._dane.dane_of(host)
        return host_tls(site.tls, host.name, dane)


def make_contexts(deliver: DeliverSettings) -> TlsContexts:
    """Return the contexts of connections. Raises UsageError."""
    try:
        return TlsContexts(deliver.tls_ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "no PEM certificate in it"
        raise UsageError(f"deliver.tls_ca_file: {deliver.tls_ca_file}: {reason}") from None


def make_counter(client: redis.asyncio.Redis, clock: Clock) -> TlsCounter:
    """Return the counter for TLS reports."""
    return TlsCounter(partial(add_counts, client), clock)


def make_policies(
    deliver: DeliverSettings,
    resolver: Resolver,
    client: redis.asyncio.Redis,
    clock: Clock,
    counter: TlsCounter,
) -> TlsPolicies:
    """Return the TLS policies. Call this in the event loop in which the policies are used."""
    by_domain = {domain.lower(): level for domain, level in deliver.tls_domains.items()}
    levels = Levels(by_domain, deliver.tls_clients)
    dane = DaneLookups(clock.monotonic) if deliver.dane else None
    if not deliver.mta_sts:
        return TlsPolicies(levels, None, dane, counter)
    fetcher = PolicyFetcher(resolver, make_contexts(deliver).verifying)
    sts = MtaSts(resolver.texts, fetcher.fetch, RedisPolicies(client), clock, counter.policy_fault)
    return TlsPolicies(levels, sts, dane, counter)
