"""Decides where mail for a domain is delivered: an override, or the DNS result. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from services.deliver.core.tls.policy import ANY_TLS, DomainTls
from shared.settings.addresses import split_address

SMTP_PORT: Final = 25
ANY: Final = "*"
# At most this number of exchangers is used per domain. Exchangers with the best preferences are
# used. Large providers have up to ten exchangers.
MAX_EXCHANGERS: Final = 20
_NOT_IN_HOST_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]")


class Host(Struct, frozen=True):
    """A server to connect to. Hosts with a lower `rank` are preferred.

    `is_named` is True if an operator, not the DNS, has named the host.
    """

    name: str
    port: int = SMTP_PORT
    rank: int = 0
    is_named: bool = False


class Site(Struct, frozen=True):
    """A group of servers that are treated as one server and limited together.

    `is_override` is True if an operator, not the DNS, has named the host. `tls` is the TLS that the
    messages for this site require.
    """

    name: str
    hosts: tuple[Host, ...]
    is_override: bool = False
    tls: DomainTls = ANY_TLS

    @property
    def pool(self) -> str:
        """Return the name of the site's pool. Each set of TLS requirements has its own pool."""
        return f"{self.name} {key}" if (key := self.tls.key) else self.name


class Mx(Struct, frozen=True):
    """The mail exchangers of a domain, sorted by rank; the domain itself if no MX exists."""

    hosts: tuple[Host, ...]


class NullMx(Struct, frozen=True):
    """The domain accepts no mail (null MX, RFC 7505)."""


class NoDomain(Struct, frozen=True):
    """The DNS says that the domain does not exist."""


class NoServer(Struct, frozen=True):
    """The DNS says that the domain exists, but has no MX, A or AAAA record."""


class Unresolved(Struct, frozen=True):
    """The DNS gave no usable answer, so nothing is known about the domain."""

    reason: str


NoServers = NullMx | NoDomain | NoServer | Unresolved
Resolution = Mx | NoServers


class Routes:
    """The overrides by recipient domain; `*` stands for all other domains."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        """The settings have already checked that each target has the form `host:port`."""
        self._sites: dict[str, Site] = {}
        for domain, target in overrides.items():
            self._sites[domain.lower()] = site_of_target(target)

    def site_of(self, domain: str) -> Site | None:
        """Return the override for a domain; None if the DNS decides."""
        return self._sites.get(domain) or self._sites.get(ANY)


def site_of_target(target: str) -> Site:
    """Return the site of a server that an operator has named as `host:port`."""
    host = Host(*split_address(target), is_named=True)
    return Site(f"{host.name}:{host.port}", (host,), True)


def mx_of(records: Iterable[tuple[int, str]]) -> Mx:
    """Return the exchangers of MX records (preference, name).

    Only the order of the preferences is used, not their numbers or the order of the records in the
    DNS answer. So domains with the same exchangers in the same order have equal results.
    """
    best: dict[str, int] = {}
    for preference, name in sorted(records):
        best.setdefault(name, preference)
    ranks = {preference: rank for rank, preference in enumerate(sorted(set(best.values())))}
    hosts = tuple(Host(name, rank=ranks[preference]) for name, preference in best.items())
    return Mx(hosts[:MAX_EXCHANGERS])


def site_of_mx(mx: Mx) -> Site:
    """Return the site of these mail exchangers. Domains with the same mail exchangers share a site.

    In the name of a site, "," separates exchangers of equal preference, and ";" separates the
    preferences. A name in the DNS may have any octets (RFC 2181, 11); octets that are not allowed
    in host names are escaped. So no exchanger can have the name of another site, or of a host that
    an operator has named.
    """
    name, rank = "", 0
    for host in mx.hosts:
        separator = ("," if host.rank == rank else ";") if name else ""
        name, rank = f"{name}{separator}{_NOT_IN_HOST_NAMES.sub(_escaped, host.name)}", host.rank
    return Site(name, mx.hosts)


def _escaped(odd: re.Match[str]) -> str:
    return f"%{ord(odd[0]):x}%"
