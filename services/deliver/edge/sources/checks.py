"""Looks up what core/sources/checking.py judges: each source address, here and in the DNS.

Owns: the look-ups and their order. Guarantees: ends within CHECK_S; what has no answer by then is a
warning, so that a slow DNS does not keep mail from being sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from services.deliver.core.routing.addresses import Lookup
from services.deliver.core.routing.sites import Unresolved
from services.deliver.core.sources.checking import (
    Facts,
    Finding,
    has_reverse_name,
    judge,
)
from services.deliver.core.sources.table import Source
from services.deliver.edge.sources.binding import bind_fault

CHECK_S: Final = 15.0


class Names(Protocol):
    """The look-ups, as in edge/dns/resolver.py."""

    def pointers(self, ip: str) -> Awaitable[tuple[str, ...] | Unresolved]:
        """The PTR names of an address; raises nothing."""
        ...

    def addresses(self, name: str) -> Awaitable[Lookup]:
        """The addresses of a host; raises nothing."""
        ...


async def check_sources(
    sources: Iterable[Source], names: Names, probe: Callable[[str], str] = bind_fault
) -> list[Finding]:
    """One finding per address, in the order of the settings."""
    rows = [(one, address) for one in sources for address in one.addresses]
    found = await asyncio.gather(*(_facts(address, names, probe) for _, address in rows))
    return [judge(one, address, facts) for (one, address), facts in zip(rows, found, strict=True)]


async def _facts(address: str, names: Names, probe: Callable[[str], str]) -> Facts:
    fault = probe(address)
    if fault or not has_reverse_name(address):
        return Facts(fault)
    try:
        async with asyncio.timeout(CHECK_S):
            pointers = await names.pointers(address)
            if isinstance(pointers, Unresolved):
                return Facts("", pointers)
            answers = await asyncio.gather(*(names.addresses(name) for name in pointers))
    except TimeoutError:
        return Facts("", Unresolved(f"no answer within {CHECK_S:g} s"))
    return Facts("", pointers, dict(zip(pointers, answers, strict=True)))
