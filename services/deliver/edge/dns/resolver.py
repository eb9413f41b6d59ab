"""MX look-ups with a cache: one query at a time per domain; stale answers when the DNS fails.

Owns the cache (MAX_CACHED domains; an answer is fresh for its TTL within bounds, and is kept to be
served stale when the DNS fails). Guarantees: never raises; a failing DNS gives Unresolved, which
bounces nobody. RFC 5321 section 5.1 (implicit MX), RFC 7505 (null MX).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from services.deliver.core.routing.sites import Mx, NoDomain, NullMx, Resolution, Unresolved

MAX_CACHED: Final = 50_000
MIN_TTL_S: Final = 30.0
MAX_TTL_S: Final = 3_600.0
NEGATIVE_TTL_S: Final = 60.0
# Time for one domain, over all servers and attempts.
LIFETIME_S: Final = 10.0


class Resolver:
    """Resolves domains to their mail exchangers.

    `nameservers` are IP addresses, with `:port` if it is not 53; empty: the system's servers.
    """

    def __init__(self, monotonic: Callable[[], float], nameservers: tuple[str, ...] = ()) -> None:
        self._monotonic = monotonic
        self._nameservers = nameservers
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._cache: OrderedDict[str, tuple[float, Resolution]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Resolution]] = {}

    def cached(self, domain: str) -> Resolution | None:
        """A fresh answer that needs no look-up."""
        found = self._cache.get(domain)
        return found[1] if found is not None and found[0] > self._monotonic() else None

    async def resolve(self, domain: str) -> Resolution:
        """Resolve an A-label domain, from the cache or the DNS."""
        found = self.cached(domain)
        if found is not None:
            return found
        task = self._asking.get(domain)
        if task is None:
            task = asyncio.ensure_future(self._ask(domain))
            self._asking[domain] = task
            task.add_done_callback(lambda _done: self._asking.pop(domain, None))
        return await asyncio.shield(task)

    async def _ask(self, domain: str) -> Resolution:
        resolution, ttl_s = await self._look_up(domain)
        if isinstance(resolution, Unresolved):
            stale = self._cache.get(domain)
            return stale[1] if stale is not None else resolution
        self._cache[domain] = (self._monotonic() + ttl_s, resolution)
        self._cache.move_to_end(domain)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return resolution

    async def _look_up(self, domain: str) -> tuple[Resolution, float]:
        try:
            answer = await self._ready().resolve(domain, "MX", lifetime=LIFETIME_S, search=False)
        except dns.resolver.NXDOMAIN:
            return NoDomain(), NEGATIVE_TTL_S
        except dns.resolver.NoAnswer:
            return Mx((domain,)), NEGATIVE_TTL_S
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return Unresolved(f"{type(error).__name__}: {error}"), 0.0
        rows = sorted((row.preference, row.exchange.to_text(True).lower()) for row in _rows(answer))
        ttl_s = min(max(float(answer.rrset.ttl if answer.rrset else 0), MIN_TTL_S), MAX_TTL_S)
        hosts = tuple(name for _, name in rows if name not in ("", "."))
        if not hosts:
            return NullMx(), ttl_s
        return Mx(hosts), ttl_s

    def _ready(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                self._resolver.nameservers = [_nameserver(text) for text in self._nameservers]
        return self._resolver


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    address, _, port = text.rpartition(":")
    # An IPv6 address is in brackets if a port follows it.
    if not address or (":" in address and not address.endswith("]")):
        address, port = text, "53"
    return dns.nameserver.Do53Nameserver(address.strip("[]"), int(port))


def _rows(answer: Any) -> list[Any]:
    return list(answer)
