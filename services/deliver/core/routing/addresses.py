"""Selects the usable addresses of a site's hosts, or returns why none is usable. Pure.

Owns: the verdict on the names and addresses of mail exchangers from the DNS. Does not own: the
look-ups (edge/dns), the order of the addresses (candidates.py), hosts that an operator has named in
`deliver.routes` (these may have any address). Guarantees: a site without a usable address is
unroutable only if the DNS has answered for every exchanger. If one look-up failed, the site is
unresolved instead.

At a loopback, private or other special address, a connection would reach this host or a host in the
same network. The message would loop, or reach a server that does not belong to the domain.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from services.deliver.core.routing.sites import Host, Unresolved

# The highest number of addresses that are used per host.
MAX_ADDRESSES: Final = 16
# A name in the DNS may have any octets (RFC 2181, 11), which are escaped as \DDD here. No host has
# a name with such escapes, and TLS cannot send such a name. Underscores are not allowed in host
# names either, but some mail hosts have them.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


# No address in these networks is the address of another host's mail server.
_SPECIAL: Final = {
    "loopback": _networks("127.0.0.0/8", "::1/128"),
    "unspecified": _networks("0.0.0.0/8", "::/128"),
    "link-local": _networks("169.254.0.0/16", "fe80::/10"),
    "multicast": _networks("224.0.0.0/4", "ff00::/8"),
    "reserved": _networks("240.0.0.0/4"),
}
# RFC 1918, RFC 6598 (shared), RFC 4193 (ULA), RFC 3879 (site-local).
_PRIVATE: Final = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"
)
# RFC 6052, 2.1.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LAST_32_BITS: Final = 0xFFFF_FFFF


class Addresses(Struct, frozen=True):
    """The IP addresses of a host."""

    ips: tuple[str, ...]


class NoAddress(Struct, frozen=True):
    """The DNS says that the name does not exist, or has neither an A nor an AAAA record."""


Lookup = Addresses | NoAddress | Unresolved


class Unroutable(Struct, frozen=True):
    """According to a definite answer of the DNS, no host of the site can be used."""

    reason: str


class Reachable(Struct, frozen=True):
    """The hosts that have usable addresses, and the usable addresses of each host."""

    hosts: tuple[tuple[Host, tuple[str, ...]], ...]


def name_fault(name: str) -> str:
    """Return why an exchanger's name is refused without a look-up; "" if the name is accepted."""
    if parse_ip(name) is not None:
        return f"{name} is an IP address, not a host name (RFC 5321, 5.1)"
    if name == "localhost" or name.endswith(".localhost"):
        return f"{name} is this host itself"
    if _HOST_NAME.fullmatch(name) is None:
        return f"{name} is no host name (RFC 5321, 2.3.5)"
    return ""


def address_fault(ip: str, allow_private: bool) -> str:
    """Return why an exchanger's address is refused; "" if the address is accepted."""
    address = parse_ip(ip)
    if address is None:
        return f"{ip} is no IP address"
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded(address) or address
    for kind, networks in _SPECIAL.items():
        if any(address in network for network in networks):
            return f"{ip} is a {kind} address"
    if not allow_private and any(address in network for network in _PRIVATE):
        return f"{ip} is a private address"
    return ""


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside a mapped, 6to4 or NAT64 address; otherwise None."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)
    return address.ipv4_mapped or address.sixtofour


def parse_ip(text: str) -> IpAddress | None:
    """Parse an IP address, also in brackets; None if the text is a name."""
    try:
        return ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def judge_hosts(
    found: Iterable[tuple[Host, Lookup]], allow_private: bool
) -> Reachable | Unroutable | Unresolved:
    """Return the hosts that can be used, or the reason why no host can be used.

    `found` contains each host with the result of its look-up.
    """
    usable: list[tuple[Host, tuple[str, ...]]] = []
    unknown: list[str] = []
    faults: list[str] = []
    for host, lookup in found:
        match lookup:
            case Unresolved(reason):
                unknown.append(f"{host.name}: {reason}")
            case NoAddress():
                faults.append(name_fault(host.name) or f"{host.name} has no address")
            case Addresses(ips):
                bad = {ip: address_fault(ip, allow_private) for ip in ips}
                good = tuple(ip for ip, fault in bad.items() if not fault)
                if good:
                    usable.append((host, good[:MAX_ADDRESSES]))
                else:
                    faults += (f"{host.name}: {fault}" for fault in bad.values())
    if usable:
        return Reachable(tuple(usable))
    return Unresolved("; ".join(unknown)) if unknown else Unroutable("; ".join(faults))
