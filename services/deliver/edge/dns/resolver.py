"""Looks up MX records and addresses, with a cache for each kind of look-up.

Guarantees: a look-up never raises. If the DNS fails, the result is Unresolved, and no message
bounces because of it. Only NXDOMAIN and an answer without the record mean that the record does not
exist. A referral does not mean this, and neither does an answer that contradicts itself. Such an
answer has records of the requested type under another name, or has records together with NXDOMAIN.
If one address family is known, the look-up waits at most FAMILY_GRACE_S for the other family. RFC
5321 section 5.1 (implicit MX), RFC 7505 (null MX), RFC 2308 (negative answers).

An answer is fresh for its TTL, which is limited to the range from MIN_TTL_S to MAX_TTL_S. Later,
the answer stays in the cache and is used only while the DNS fails. At most one look-up of a name
runs at a time, and at most MAX_CACHED names are cached per kind of look-up.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.message
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename
from msgspec import Struct

from services.deliver.core.routing.addresses import Addresses, Lookup, NoAddress
from services.deliver.core.routing.sites import (
    Host,
    Mx,
    NoDomain,
    NoServer,
    NullMx,
    Resolution,
    Unresolved,
    mx_of,
)
from shared.settings.addresses import DNS_PORT, parse_ip_address

MAX_CACHED: Final = 50_000
MIN_TTL_S: Final = 30.0
MAX_TTL_S: Final = 3_600.0
NEGATIVE_TTL_S: Final = 60.0
# The time limit of one query, including the attempts at all servers.
LIFETIME_S: Final = 10.0
# The time to wait for the second address family. Some servers and firewalls drop every query for
# AAAA (RFC 4074, 4.1).
FAMILY_GRACE_S: Final = 2.0

T = TypeVar("T")

# A function that looks up a name and returns the answer and its TTL in seconds. The function raises
# no exception.
LookUp = Callable[[str], Coroutine[Any, Any, tuple[T | Unresolved, float]]]


class _Records(Struct, frozen=True):
    rows: list[Any]
    ttl_s: float


class _NoRecord(Struct, frozen=True):
    has_name: bool  # False means NXDOMAIN


class Resolver:
    """Resolves domains to mail exchangers, and mail exchangers to addresses.

    `nameservers` are IP addresses, with `:port` if the port is not 53. If `nameservers` is empty,
    the servers of the system are used.
    """

    def __init__(self, monotonic: Callable[[], float], nameservers: tuple[str, ...] = ()) -> None:
        self._nameservers = nameservers
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._exchangers: AnswerCache[Resolution] = AnswerCache(monotonic, self._look_up_mx)
        self._addresses: AnswerCache[Lookup] = AnswerCache(monotonic, self._look_up_addresses)

    def cached(self, domain: str) -> Resolution | None:
        """Return the cached answer if it is fresh, otherwise None."""
        return self._exchangers.fresh(domain)

    async def resolve(self, domain: str) -> Resolution:
        """Resolve an A-label domain, from the cache or the DNS."""
        return await self._exchangers.get(domain)

    async def addresses(self, name: str) -> Lookup:
        """Return the addresses of a host, from the cache or the DNS."""
        return await self._addresses.get(name)

    async def texts(self, name: str) -> tuple[str, ...] | Unresolved:
        """Look up the TXT records of a name, without the cache. Raises nothing."""
        match await self._query(name, dns.rdatatype.TXT):
            case Unresolved() as failure:
                return failure
            case _NoRecord():
                return ()
            case _Records(rows):
                joined = (b"".join(row.strings) for row in rows)
                return tuple(text.decode("utf-8", "replace") for text in joined)

    async def pointers(self, ip: str) -> tuple[str, ...] | Unresolved:
        """Look up the PTR names of an address, without the cache. Raises nothing."""
        match await self._query(dns.reversename.from_address(ip).to_text(), dns.rdatatype.PTR):
            case Unresolved() as failure:
                return failure
            case _NoRecord():
                return ()
            case _Records(rows):
                return tuple(row.target.to_text(True).lower() for row in rows)

    async def _look_up_mx(self, domain: str) -> tuple[Resolution, float]:
        match await self._query(domain, dns.rdatatype.MX):
            case Unresolved() as failure:
                return failure, 0.0
            case _NoRecord(has_name):
                return await self._implicit_mx(domain) if has_name else (NoDomain(), NEGATIVE_TTL_S)
            case _Records(rows, ttl_s):
                named = [(row.preference, row.exchange.to_text(True).lower()) for row in rows]
                mx = mx_of(
                    (preference, name) for preference, name in named if name not in ("", ".")
                )
                return mx if mx.hosts else NullMx(), ttl_s

    async def _implicit_mx(self, domain: str) -> tuple[Resolution, float]:
        match await self.addresses(domain):
            case Addresses():
                return Mx((Host(domain),)), NEGATIVE_TTL_S
            case NoAddress():
                return NoServer(), NEGATIVE_TTL_S
            case Unresolved() as failure:
                return failure, 0.0

    async def _look_up_addresses(self, name: str) -> tuple[Lookup, float]:
        kinds = (dns.rdatatype.AAAA, dns.rdatatype.A)
        found = await _in_time([asyncio.ensure_future(self._query(name, kind)) for kind in kinds])
        records = [answer for answer in found if isinstance(answer, _Records)]
        failures = [answer for answer in found if isinstance(answer, Unresolved)]
        if records:
            ips = tuple(sorted(str(row.address) for answer in records for row in answer.rows))
            # If the look-up of one address family failed, both families are looked up again soon.
            ttl_s = MIN_TTL_S if failures else min(answer.ttl_s for answer in records)
            return Addresses(ips), ttl_s
        # Some servers that do not know AAAA answer that the name does not exist (RFC 4074, 4.2).
        return (failures[0], 0.0) if failures else (NoAddress(), NEGATIVE_TTL_S)

    async def _query(
        self, name: str, kind: dns.rdatatype.RdataType
    ) -> _Records | _NoRecord | Unresolved:
        try:
            answer = await self._ready().resolve(name, kind, lifetime=LIFETIME_S, search=False)
        except dns.resolver.NXDOMAIN as error:
            if any(_has(reply, kind) for reply in error.kwargs["responses"].values()):
                return Unresolved("The server answered that a name with records does not exist")
            return _NoRecord(has_name=False)
        except dns.resolver.NoAnswer as error:
            response = error.kwargs["response"]
            if _is_referral(response):
                return Unresolved("The server only refers to other servers")
            if _has(response, kind):
                return Unresolved("The server answered with the records of another name")
            return _NoRecord(has_name=True)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return Unresolved(f"{type(error).__name__}: {error}")
        return _Records(list(answer), float(answer.rrset.ttl if answer.rrset else 0))

    def _ready(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                self._resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(*parse_ip_address(text, DNS_PORT))
                    for text in self._nameservers
                ]
        return self._resolver


class AnswerCache(Generic[T]):
    """The answers of one kind of look-up."""

    def __init__(self, monotonic: Callable[[], float], look_up: LookUp[T]) -> None:
        self._monotonic = monotonic
        self._look_up = look_up
        self._answers: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[T | Unresolved]] = {}

    def fresh(self, name: str) -> T | None:
        """Return the cached answer if it is fresh, otherwise None."""
        found = self._answers.get(name)
        return found[1] if found is not None and found[0] > self._monotonic() else None

    async def get(self, name: str) -> T | Unresolved:
        """Return the answer from the cache or the DNS."""
        found = self.fresh(name)
        if found is not None:
            return found
        task = self._asking.get(name)
        if task is None:
            task = asyncio.ensure_future(self._ask(name))
            self._asking[name] = task
            task.add_done_callback(lambda _done: self._asking.pop(name, None))
        return await asyncio.shield(task)

    async def _ask(self, name: str) -> T | Unresolved:
        asked_at = self._monotonic()  # the TTL begins with the query
        answer, ttl_s = await self._look_up(name)
        if isinstance(answer, Unresolved):
            stale = self._answers.get(name)
            return stale[1] if stale is not None else answer
        bounded_s = min(max(ttl_s, MIN_TTL_S), MAX_TTL_S)
        self._answers[name] = (asked_at + bounded_s, answer)
        self._answers.move_to_end(name)
        if len(self._answers) > MAX_CACHED:
            self._answers.popitem(last=False)
        return answer


async def _in_time(
    families: list[asyncio.Task[_Records | _NoRecord | Unresolved]],
) -> list[_Records | _NoRecord | Unresolved]:
    """Return the results. If one family has addresses, wait only briefly for the other family."""
    try:
        done, _ = await asyncio.wait(families, return_when=asyncio.FIRST_COMPLETED)
        is_known = any(isinstance(task.result(), _Records) for task in done)
        await asyncio.wait(families, timeout=FAMILY_GRACE_S if is_known else None)
        no_answer = Unresolved("no answer yet")
        return [task.result() if task.done() else no_answer for task in families]
    finally:
        for task in families:
            task.cancel()


def _has(response: dns.message.Message, kind: dns.rdatatype.RdataType) -> bool:
    return any(rrset.rdtype == kind for rrset in response.answer)


def _is_referral(response: dns.message.Message) -> bool:
    """Return whether an answer without records is a referral.

    A referral has NS records but no SOA record (RFC 2308, 2.2).
    """
    kinds = {rrset.rdtype for rrset in response.authority}
    return dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds
