"""Finds the addresses of a site's hosts, in the order of the RFCs.

Owns: the time that an opening waits for look-ups. Does not own: the look-ups (resolver.py), the
check for allowed addresses (core/routing/addresses.py), the order of addresses after failures
(core/routing/candidates.py). If an operator has named a host in `deliver.routes`, the system's
resolver looks it up (hosts file, names of containers). Such a host may have any address, and its
addresses are not shuffled.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from services.deliver.core.attempt.results import ConnectFault, NoConnection, NoRoute
from services.deliver.core.routing.addresses import (
    Addresses,
    Lookup,
    NoAddress,
    Reachable,
    Unroutable,
    judge_hosts,
    name_fault,
)
from services.deliver.core.routing.candidates import Candidate, Shuffle, arrange
from services.deliver.core.routing.sites import Host, Site, Unresolved
from shared.smtp.remote_text import clean_text

# The time that an opening waits for the addresses of all hosts. After this time, the opening uses
# the hosts whose addresses are known.
LOOK_UP_GRACE_S: Final = 3.0


class AddressSource(Protocol):
    """Looks up the addresses of a host."""

    def addresses(self, name: str) -> Awaitable[Lookup]:
        """Return the addresses. Raises nothing."""
        ...


class AddressPolicy(Struct, frozen=True):
    """Decides whether private addresses may be used. Shuffles the addresses of equal rank."""

    shuffle: Shuffle
    allow_private: bool = False


class SiteAddresses:
    """Finds the addresses of any site."""

    def __init__(self, source: AddressSource, policy: AddressPolicy) -> None:
        self._source = source
        self._policy = policy

    async def candidates(self, site: Site) -> list[Candidate] | ConnectFault:
        """Return the addresses in the order of the RFCs, or the reason why no address was found.

        Raises nothing.
        """
        if site.is_override:
            return await _named_candidates(site.hosts)
        match judge_hosts(await self._look_up(site.hosts), self._policy.allow_private):
            case Reachable(reachable):
                return arrange(reachable, self._policy.shuffle)
            case Unroutable(reason):
                return NoRoute(clean_text(reason))
            case Unresolved(reason):
                return NoConnection(clean_text(f"the DNS gave no answer: {reason}"))

    async def _look_up(self, hosts: Sequence[Host]) -> list[tuple[Host, Lookup]]:
        """Look up the hosts. After LOOK_UP_GRACE_S, stop waiting if one host has an address."""
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._look_up_one(host)): host for host in hosts}
        try:
            done, late = await asyncio.wait(tasks, timeout=LOOK_UP_GRACE_S)
            while late and not any(isinstance(task.result(), Addresses) for task in done):
                more, late = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
                done |= more
        finally:
            for task in tasks:
                task.cancel()  # the look-up itself continues, to fill the cache
        no_answer = Unresolved("no answer yet")
        return [
            (host, task.result() if task in done else no_answer) for task, host in tasks.items()
        ]

    async def _look_up_one(self, host: Host) -> Lookup:
        return NoAddress() if name_fault(host.name) else await self._source.addresses(host.name)


async def _named_candidates(hosts: Sequence[Host]) -> list[Candidate] | ConnectFault:
    """Return the system's addresses for hosts that an operator has named, in the system's order."""
    found: dict[tuple[str, int], Candidate] = {}
    fault = "the site has no host"
    for host in hosts:
        try:
            for ip in await _system_addresses(host):
                candidate = Candidate(host, ip)
                found.setdefault(candidate.key, candidate)
        except OSError as error:
            fault = clean_text(f"{host.name}:{host.port}: {error}")
    return list(found.values()) or NoConnection(fault)


async def _system_addresses(host: Host) -> list[str]:
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
    return [
        f"{address[0]}%{address[3]}" if len(address) == 4 and address[3] else str(address[0])
        for *_, address in rows
    ]
