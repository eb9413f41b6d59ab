"""Looks up TLSA records, and relies on the AD bit of a validating resolver (RFC 7672, 2).

Owns: the queries, the cache of answers, the rule that decides whether an answer is secure. Does not
own: the match with a certificate (core/tls/dane.py). The resolver must validate answers, and its
answers must not be changed on the way to this host. The operator confirms both conditions
(`deliver.dane`). Guarantees: a look-up raises nothing. The result of a failed look-up is a
DaneFault and never "no records", because an attacker can make a look-up fail with a forged answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from msgspec import Struct

from services.deliver.core.routing.sites import Host, Unresolved
from services.deliver.core.tls.dane import usable
from services.deliver.core.tls.policy import Dane, DaneFault, DaneKeys, NoDane
from services.deliver.edge.dns.resolver import AnswerCache
from shared.settings.addresses import DNS_PORT, parse_ip_address

LIFETIME_S: Final = 10.0
NEGATIVE_TTL_S: Final = 300.0
# UDP answers of up to this size pass every network without fragmentation. Longer answers use TCP.
_PAYLOAD_OCTETS: Final = 1232


class _Answer(Struct, frozen=True):
    rows: list[Any]
    is_secure: bool
    name: str  # the name after all CNAMEs
    ttl_s: float


class DaneLookups:
    """TLSA records of servers. Use it in one event loop.

    `nameservers` are IP addresses, with `:port` if the port is not 53. If `nameservers` is empty,
    the servers of the system are used.
    """

    def __init__(self, monotonic: Callable[[], float], nameservers: tuple[str, ...] = ()) -> None:
        self._nameservers = nameservers
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._domains: AnswerCache[bool] = AnswerCache(monotonic, self._look_up_domain)
        self._hosts: AnswerCache[Dane] = AnswerCache(monotonic, self._look_up_host)

    async def is_secure(self, domain: str) -> bool:
        """Return True if the MX records of a domain, or the proof that none exist, are signed.

        If the MX records are not signed, an attacker could forge them and insert hosts whose TLSA
        records the attacker controls. If the look-up fails, the TLSA records of the servers decide.
        """
        return await self._domains.get(domain) is not False

    async def dane_of(self, host: Host) -> Dane:
        """Return the records of a server. Raises nothing."""
        found = await self._hosts.get(f"{host.port} {host.name}")
        return DaneFault(found.reason) if isinstance(found, Unresolved) else found

    async def _look_up_domain(self, domain: str) -> tuple[bool | Unresolved, float]:
        answer = await self._ask(domain, dns.rdatatype.MX)
        if isinstance(answer, Unresolved):
            return answer, 0.0
        return answer.is_secure, answer.ttl_s

    async def _look_up_host(self, key: str) -> tuple[Dane | Unresolved, float]:
        port, _, host = key.partition(" ")
        # RFC 7672, 2.2.2: TLSA records are looked up only if the server has a signed address, A or
        # AAAA.
        address = await self._ask(host, dns.rdatatype.A)
        if isinstance(address, _Answer) and not address.rows:
            address = await self._ask(host, dns.rdatatype.AAAA)
        if isinstance(address, Unresolved):
            return address, 0.0
        if not address.is_secure:
            return NoDane(), address.ttl_s
        # RFC 7672, 2.2.3: the name after CNAMEs is tried first, then the name in the MX record.
        names = tuple(dict.fromkeys((address.name, host)))
        for base in names:
            answer = await self._ask(f"_{port}._tcp.{base}", dns.rdatatype.TLSA)
            if isinstance(answer, Unresolved):
                return answer, 0.0
            if answer.is_secure and answer.rows:
                rows = [(row.usage, row.selector, row.mtype, row.cert) for row in answer.rows]
                others = (name for name in names if name != base)
                return DaneKeys(usable(rows), (base, *others)), answer.ttl_s
        return NoDane(), NEGATIVE_TTL_S

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> _Answer | Unresolved:
        try:
            answer = await self._ready().resolve(
                name, kind, lifetime=LIFETIME_S, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()
            return _Answer([], all(map(_is_secure, responses)), name, NEGATIVE_TTL_S)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            kind_name = dns.rdatatype.to_text(kind)
            return Unresolved(f"{kind_name} of {name}: {type(error).__name__}")
        canonical = answer.canonical_name.to_text(omit_final_dot=True).lower()
        if answer.rrset is None:
            return _Answer([], _is_secure(answer.response), canonical, NEGATIVE_TTL_S)
        ttl_s = float(answer.rrset.ttl)
        return _Answer(list(answer), _is_secure(answer.response), canonical, ttl_s)

    def _ready(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            self._resolver.use_edns(0, dns.flags.DO, _PAYLOAD_OCTETS)
            if self._nameservers:
                self._resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(*parse_ip_address(text, DNS_PORT))
                    for text in self._nameservers
                ]
        return self._resolver


def _is_secure(response: Any) -> bool:
    return bool(response.flags & dns.flags.AD)
