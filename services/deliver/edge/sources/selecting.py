"""Finds the usable sources from which a message may be sent, in the order of preference.

Owns: the last result of binding to each source, the log lines about pools that do not exist, the
look-ups for the checks at the start. Does not own: the table and the order of sources
(core/sources/table.py), the meaning of a check (core/sources/checking.py), the connections.

Guarantees: if the pool of a client does not exist, the mail of this client is deferred with a
reason, and other mail is not affected. An unavailable source is not used as long as the pool has
another source. If an address disappears from this host, the next connection from this address
fails, and look() finds the fault within LOOK_S. look() also finds that an address is available
again. No mail is sent from an address that does not belong to the source. look() is first called
before any mail is sent. The checks end within CHECK_S. If a look-up has no answer within this time,
the finding is only a warning, because a slow DNS must not prevent the sending of mail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from services.deliver.core.attempt.results import NoSource
from services.deliver.core.routing.addresses import Lookup
from services.deliver.core.routing.sites import Unresolved
from services.deliver.core.sources.checking import (
    Facts,
    Finding,
    has_reverse_name,
    judge,
)
from services.deliver.core.sources.table import SYSTEM, UNCONFIGURED, Source, SourceTable, order
from services.deliver.edge.smtp.connecting import bind_fault
from shared.runtime.telemetry import Metric
from shared.smtp.remote_text import clean_text
from shared.topics.records import Envelope

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
UNAVAILABLE: Final = Metric(
    "sluice_deliver_sources_unavailable",
    "Source addresses of `deliver.sources` that this host does not have now, or cannot bind to.",
)
# The largest number of logged pairs of a client and a pool that does not exist. Further pairs are
# not logged.
MAX_WARNED: Final = 1_000
CHECK_S: Final = 15.0
_ONLY_SYSTEM: Final = [SYSTEM]


class SourceHealth:
    """The sources that cannot be used. Use this object in one thread."""

    def __init__(self, sources: Iterable[Source], probe: Callable[[str], str] = bind_fault) -> None:
        """`probe` returns why no socket can be bound to a local address; "" if one can be bound."""
        self._sources = tuple(sources)
        self._probe = probe
        self._faults: dict[str, str] = {}

    @property
    def unavailable(self) -> int:
        """Return how many sources cannot be used now."""
        return len(self._faults)

    def fault(self, source: Source) -> str:
        """Return why this source cannot be used now, or "" if it can be used."""
        return self._faults.get(source.name, "") if self._faults else ""

    def failed(self, source: Source, reason: str) -> None:
        """Record that a connection could not be bound to this source."""
        if source.name and source.name not in self._faults:
            self._faults[source.name] = reason
            log.error("source %s is unavailable: %s", source.name, reason)

    def look(self) -> None:
        """Check whether sockets can be bound to the addresses of all sources."""
        for one in self._sources:
            tried = ((ip, self._probe(ip)) for ip in one.addresses)
            reason = "; ".join(f"{ip}: {fault}" for ip, fault in tried if fault)
            if reason:
                self.failed(one, reason)
            elif self._faults.pop(one.name, ""):
                log.info("source %s is available again", one.name)

    def status(self) -> str:
        """Return a note for /ready on the sources that cannot be used."""
        return "; ".join(f"source {name}: {reason}" for name, reason in self._faults.items())


class Sources:
    """The sources of one process. Use it in one event loop."""

    def __init__(
        self, table: SourceTable = UNCONFIGURED, health: SourceHealth | None = None
    ) -> None:
        self.table = table
        self.health = health or SourceHealth(table.sources)
        self._is_unconfigured = not table.sources and len(table.pools) == 1
        self._warned: set[tuple[str, str]] = set()

    def of(self, envelope: Envelope) -> list[Source] | NoSource:
        """Return the sources that can be used now, in the order in which the message tries them."""
        if self._is_unconfigured and not envelope.pool:
            return _ONLY_SYSTEM
        pool = self.table.pool_of(envelope.pool, envelope.mail_class)
        if pool is None:
            return self._unknown_pool(envelope)
        ordered = order(pool, envelope.mail_id)
        usable = [one for one in ordered if not self.health.fault(one)]
        if usable:
            return usable
        reasons = "; ".join(f"{one.name}: {self.health.fault(one)}" for one in ordered)
        reason = clean_text(f"No source of the pool {pool.name} is available: {reasons}")
        return NoSource(reason, is_unavailable=True)

    def failed(self, source: Source, fault: NoSource) -> None:
        """Record that a message could not be sent from this source."""
        if fault.is_unavailable:
            self.health.failed(source, fault.reason)

    def _unknown_pool(self, envelope: Envelope) -> NoSource:
        key = envelope.client, envelope.pool
        if key not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(key)
            log.error(
                "the client's pool does not exist; its mail is deferred: set another pool with"
                " `sluice clients apply`, or add this one to deliver.pools",
                extra={"client": envelope.client, "unknown_pool": envelope.pool},
            )
        return NoSource(f"The pool {envelope.pool!r} of the client is not in deliver.pools")


class Names(Protocol):
    """The DNS look-ups, as in edge/dns/resolver.py."""

    def pointers(self, ip: str) -> Awaitable[tuple[str, ...] | Unresolved]:
        """Return the PTR names of an address. Raises nothing."""
        ...

    def addresses(self, name: str) -> Awaitable[Lookup]:
        """Return the addresses of a host. Raises nothing."""
        ...


async def check_sources(
    sources: Iterable[Source], names: Names, probe: Callable[[str], str] = bind_fault
) -> list[Finding]:
    """Return one finding per address, in the order of the settings."""
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
