"""Where mail for a recipient's domain is delivered: an override, or the DNS result. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

SMTP_PORT: Final = 25
ANY: Final = "*"


class Host(Struct, frozen=True):
    """One server to connect to."""

    name: str
    port: int = SMTP_PORT


class Site(Struct, frozen=True):
    """Servers that are treated as one: tried in order, limited together."""

    name: str
    hosts: tuple[Host, ...]


class Mx(Struct, frozen=True):
    """The mail exchangers of a domain, best first; the domain itself if it has no MX records."""

    hosts: tuple[str, ...]


class NullMx(Struct, frozen=True):
    """The domain accepts no mail (null MX, RFC 7505)."""


class NoDomain(Struct, frozen=True):
    """The DNS says that the domain does not exist."""


class Unresolved(Struct, frozen=True):
    """The DNS gave no usable answer; this says nothing about the domain."""

    reason: str


Resolution = Mx | NullMx | NoDomain | Unresolved


class RouteError(ValueError):
    """A route override is not `host:port`; the text names it."""


def parse_host(text: str) -> Host:
    """Parse `host:port`, `[v6]:port` or `host` (port 25). Raises RouteError."""
    name, colon, port = text.rpartition(":")
    if not colon or (text.startswith("[") and text.endswith("]")):
        name, port = text, str(SMTP_PORT)
    name = name.removeprefix("[").removesuffix("]")
    if not name or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise RouteError(f"found {text!r}, expected host:port")
    return Host(name, int(port))


class Routes:
    """Overrides by recipient domain, `*` for all others."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        """Raises RouteError."""
        self._sites: dict[str, Site] = {}
        for domain, target in overrides.items():
            host = parse_host(target)
            self._sites[domain.lower()] = Site(f"{host.name}:{host.port}", (host,))

    def site_of(self, domain: str) -> Site | None:
        """The override for a domain; None if the DNS decides."""
        return self._sites.get(domain) or self._sites.get(ANY)


def site_of_mx(mx: Mx) -> Site:
    """The site of these mail exchangers; domains with the same mail exchangers share it."""
    return Site(",".join(mx.hosts), tuple(Host(name) for name in mx.hosts))
