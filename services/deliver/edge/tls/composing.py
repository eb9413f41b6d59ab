"""Composes the TLS policies and contexts from the settings."""

from __future__ import annotations

import ssl
from functools import partial

import redis.asyncio

from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.smtp.tls import TlsContexts
from services.deliver.edge.tls.counting import TlsCounter
from services.deliver.edge.tls.dane_lookups import DaneLookups
from services.deliver.edge.tls.mta_sts import MtaSts
from services.deliver.edge.tls.policies import Levels, TlsPolicies
from services.deliver.edge.tls.policy_fetch import PolicyFetcher
from services.deliver.edge.tls.policy_store import RedisPolicies
from services.deliver.settings import DeliverSettings
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.store.tls_counts import add_counts


def make_contexts(deliver: DeliverSettings) -> TlsContexts:
    """The contexts of connections; raises UsageError."""
    try:
        return TlsContexts(deliver.tls_ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "no PEM certificate in it"
        raise UsageError(f"deliver.tls_ca_file: {deliver.tls_ca_file}: {reason}") from None


def make_counter(client: redis.asyncio.Redis, clock: Clock) -> TlsCounter:
    """Counts for TLS reports."""
    return TlsCounter(partial(add_counts, client), clock)


def make_policies(
    deliver: DeliverSettings,
    resolver: Resolver,
    client: redis.asyncio.Redis,
    clock: Clock,
    counter: TlsCounter,
) -> TlsPolicies:
    """The TLS policies of domains and servers, in the event loop in which they are used."""
    by_domain = {domain.lower(): level for domain, level in deliver.tls_domains.items()}
    levels = Levels(by_domain, deliver.tls_clients)
    dane = DaneLookups(clock.monotonic) if deliver.dane else None
    if not deliver.mta_sts:
        return TlsPolicies(levels, None, dane, counter)
    fetcher = PolicyFetcher(resolver, make_contexts(deliver).verifying)
    sts = MtaSts(resolver.texts, fetcher.fetch, RedisPolicies(client), clock, counter.policy_fault)
    return TlsPolicies(levels, sts, dane, counter)
