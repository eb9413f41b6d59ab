"""The source addresses of an installation, and the pools that group them. Pure.

A source is a local address (IPv4, IPv6 or both) with its EHLO name. A pool is a set of sources with
weights. A message uses the pool that the registry specifies for its client, otherwise the pool of
its mail class, otherwise `default`.

Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005) sorts the sources of the pool for
each message: the score of a source is computed from the hash of the mail id and the source's name,
divided by the source's weight. So a message has the same source at all attempts and on all workers,
although no state is kept. A server that greylists therefore recognises the message. If a source is
added, only the messages that the new source takes over change their source. If a source is removed,
only the messages of this source change their source.

Owns: reading the settings, the pool of a message, and the order in which a message uses the
sources. Does not own: the checks whether an address can be used now (edge/sources/). Guarantees:
without configured sources there is one pool, whose only source binds to no address and uses the
installation's EHLO name. An unknown name is a fault of the settings. All faults are reported at
once.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from shared.settings.addresses import host_fault
from shared.topics.records import MailClass

DEFAULT_POOL: Final = "default"
MAX_WEIGHT: Final = 1_000
_MEMBER: Final = re.compile(r"([a-z0-9][a-z0-9_-]{0,31})(?:\*([0-9]{1,4}))?", re.ASCII)


class Source(Struct, frozen=True):
    """A local address for sending mail. If `name` is empty, the system chooses the address."""

    name: str = ""
    ehlo_name: str = ""
    ipv4: str = ""
    ipv6: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of the source, one or two."""
        return tuple(ip for ip in (self.ipv4, self.ipv6) if ip)

    def reaches(self, ip: str) -> bool:
        """Return True if the source has an address of the same family as `ip`."""
        return not self.name or bool(self.local(ip))

    def local(self, ip: str) -> str:
        """Return the address to bind to for a connection to `ip`; "" if no address fits."""
        return self.ipv6 if ":" in ip else self.ipv4


SYSTEM: Final = Source()


class Pool(Struct, frozen=True):
    """Sources and the weight of each."""

    name: str
    members: tuple[tuple[Source, int], ...]


class SourceFaults(ValueError):
    """The faults of the settings of sources, one per line."""


class SourceTable(Struct, frozen=True):
    """All pools. `by_class` maps each mail class to the name of its pool."""

    pools: Mapping[str, Pool]
    by_class: Mapping[str, str] = {}

    def pool_of(self, named: str, mail_class: MailClass) -> Pool | None:
        """Return the pool of a message; None if the pool of its client does not exist."""
        return self.pools.get(named or self.by_class.get(mail_class.value, DEFAULT_POOL))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return all sources that have an address; each source appears once."""
        found = {one.name: one for pool in self.pools.values() for one, _ in pool.members}
        return tuple(one for one in found.values() if one.name)


UNCONFIGURED: Final = SourceTable({DEFAULT_POOL: Pool(DEFAULT_POOL, ((SYSTEM, 1),))})


def read_sources(
    sources: Mapping[str, Sequence[str]],
    pools: Mapping[str, Sequence[str]],
    by_class: Mapping[str, str],
) -> SourceTable:
    """Read the settings. Raises SourceFaults.

    `sources` maps each name to the EHLO name and one or two addresses. `pools` maps each name to
    the sources of the pool, with `*WEIGHT` if the weight is not 1. If `pools` has no pool
    `default`, this pool consists of all sources.
    """
    faults: list[str] = []
    known: dict[str, Source] = {}
    for name, parts in sources.items():
        found = _source(name, parts)
        if isinstance(found, Source):
            known[name] = found
        else:
            faults.append(f"deliver.sources.{name}: {found}")
    faults += _shared_addresses(known)
    read = {name: _pool(name, rows, known, sources, faults) for name, rows in pools.items()}
    if DEFAULT_POOL not in read:
        # Without sources the system chooses the address.
        members = tuple((one, 1) for one in known.values()) or ((SYSTEM, 1),)
        read[DEFAULT_POOL] = Pool(DEFAULT_POOL, members)
    for mail_class, pool in by_class.items():
        if pool not in read:
            fault = f"found {pool!r}, expected one of {', '.join(sorted(read))}"
            faults.append(f"deliver.pool_by_class.{mail_class}: {fault}")
    if faults:
        raise SourceFaults("\n".join(faults))
    return SourceTable(read, dict(by_class))


def _source(name: str, parts: Sequence[str]) -> Source | str:
    """Return the source, or its fault."""
    ehlo_name, *ips = parts or ("",)
    if fault := host_fault(ehlo_name):
        return f"found {ehlo_name!r}, expected a host name for EHLO first: {fault}"
    by_version: dict[int, str] = {}
    for text in ips:
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            return f"found {text!r}, expected an IP address after the host name"
        if ip.is_unspecified or ip.is_multicast:
            return f"found {text!r}, expected the address of one interface of this host"
        if ip.version in by_version:
            return (
                f"found two IPv{ip.version} addresses, expected one; add another source for the "
                "second address"
            )
        by_version[ip.version] = str(ip)
    if not by_version:
        return "found no address, expected an IPv4 address, an IPv6 address or both"
    return Source(name, ehlo_name, by_version.get(4, ""), by_version.get(6, ""))


def _shared_addresses(known: Mapping[str, Source]) -> list[str]:
    """Return the faults of sources that have a common address.

    Sources with a common address would share the reputation of this address.
    """
    owners: dict[str, str] = {}
    faults = []
    for one in known.values():
        for ip in one.addresses:
            if owners.setdefault(ip, one.name) != one.name:
                what = f"found {ip}, which {owners[ip]} has too, expected another address"
                faults.append(f"deliver.sources.{one.name}: {what}")
    return faults


def _pool(
    name: str,
    rows: Sequence[str],
    known: Mapping[str, Source],
    declared: Mapping[str, object],
    faults: list[str],
) -> Pool:
    members: dict[str, tuple[Source, int]] = {}
    for row in rows:
        found = _MEMBER.fullmatch(row)
        weight = int(found[2] or 1) if found else 0
        if found is None or not 1 <= weight <= MAX_WEIGHT:
            what = f'found {row!r}, expected a source such as "mx1", or "mx1*3" with its weight'
        elif found[1] not in declared:
            named = ", ".join(sorted(declared)) or "deliver.sources, which is empty"
            what = f"found {found[1]!r}, expected one of {named}"
        elif found[1] in members:
            what = f"found {found[1]!r} twice, expected each source once"
        else:
            # A faulty source is reported where it is defined, not here.
            if found[1] in known:
                members[found[1]] = known[found[1]], weight
            continue
        faults.append(f"deliver.pools.{name}: {what}")
    if not rows:
        faults.append(f"deliver.pools.{name}: found no source, expected at least one")
    return Pool(name, tuple(members.values()))


def order(pool: Pool, mail_id: str) -> list[Source]:
    """Return the sources of a pool: first the source of this message, then its substitutes."""
    if len(pool.members) == 1:
        return [pool.members[0][0]]
    scored = [(_score(mail_id, one.name, weight), one.name, one) for one, weight in pool.members]
    return [one for _, _, one in sorted(scored, key=lambda row: row[:2])]


def _score(mail_id: str, name: str, weight: int) -> float:
    digest = blake2b(f"{mail_id} {name}".encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / (2**64 + 1)) / weight
