"""Which source addresses this host has now.

Owns: the last result of binding to each source. Does not own: the choice among sources
(core/sources/table.py), the connections. Guarantees: an address that is gone is noticed by the
connection that needed it, or by look() at most LOOK_S later, and again when it is back; nothing is
sent from another address than the source's. The first look is made before any mail is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from services.deliver.core.sources.table import Source
from services.deliver.edge.sources.binding import bind_fault
from shared.runtime.telemetry import Metric

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
UNAVAILABLE: Final = Metric(
    "sluice_deliver_sources_unavailable",
    "Source addresses of `deliver.sources` that this host does not have now, or cannot bind to.",
)


class SourceHealth:
    """The sources that cannot be used. Use it in one thread."""

    def __init__(self, sources: Iterable[Source], probe: Callable[[str], str] = bind_fault) -> None:
        """`probe` tells why a local address cannot be bound to; "" if it can."""
        self._sources = tuple(sources)
        self._probe = probe
        self._faults: dict[str, str] = {}

    @property
    def unavailable(self) -> int:
        """How many sources cannot be used now."""
        return len(self._faults)

    def fault(self, source: Source) -> str:
        """Why this source cannot be used now; "" if it can."""
        return self._faults.get(source.name, "") if self._faults else ""

    def failed(self, source: Source, reason: str) -> None:
        """A connection could not be bound to it."""
        if source.name and source.name not in self._faults:
            self._faults[source.name] = reason
            log.error("source %s is unavailable: %s", source.name, reason)

    def look(self) -> None:
        """Try all sources."""
        for one in self._sources:
            tried = ((ip, self._probe(ip)) for ip in one.addresses)
            reason = "; ".join(f"{ip}: {fault}" for ip, fault in tried if fault)
            if reason:
                self.failed(one, reason)
            elif self._faults.pop(one.name, ""):
                log.info("source %s is available again", one.name)

    def status(self) -> str:
        """For /ready, as information: the sources that cannot be used."""
        return "; ".join(f"source {name}: {reason}" for name, reason in self._faults.items())
