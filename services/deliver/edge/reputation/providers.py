"""The provider of a complaint, whose event names none.

Owns: the look-ups of MX records for it, which are those by which deliver chose the provider.
Guarantees: a turn waits at most LOOK_UP_S for the DNS; what has no answer by then has no provider,
and is not counted. Bounded: MAX_DOMAINS answers are remembered.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.deliver.core.routing.sites import Mx
from services.deliver.core.shaping.rules import Rules
from services.deliver.edge.dns.resolver import Resolver
from shared.runtime.clock import Clock, Deadline

LOOK_UP_S: Final = 3.0
MAX_DOMAINS: Final = 20_000


class ProviderLookup:
    """Use it in one thread, without an event loop of its own."""

    def __init__(self, rules: Rules, resolver: Resolver, clock: Clock) -> None:
        self._rules = rules
        self._resolver = resolver
        self._clock = clock
        self._known: dict[str, str] = {}

    def begin(self) -> Deadline:
        """The time that the look-ups of one turn may take together."""
        return Deadline(LOOK_UP_S, self._clock)

    def of(self, recipient: str, deadline: Deadline) -> str:
        """The provider of this recipient; "" if it has none, or none was found in time."""
        domain = recipient.rpartition("@")[2].lower()
        found = self._known.get(domain) or self._rules.provider_of(domain, ())
        if domain in self._known or found or deadline.is_over():
            return found
        return asyncio.run(self._resolved(domain, deadline))

    async def _resolved(self, domain: str, deadline: Deadline) -> str:
        try:
            async with asyncio.timeout(deadline.left_s()):
                resolution = await self._resolver.resolve(domain)
        except TimeoutError:
            return ""
        if not isinstance(resolution, Mx):
            return ""
        if len(self._known) >= MAX_DOMAINS:
            self._known.clear()
        found = self._rules.provider_of(domain, (host.name for host in resolution.hosts))
        self._known[domain] = found
        return found
