"""Remembers which servers offer something that does not work, so that it is not tried each time.

Owns: the memory of one process, bounded in time and number. Does not own: what is done without it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec.structs import replace

from services.deliver.core.routing.sites import Host
from services.deliver.edge.smtp.logins import Logins
from services.deliver.edge.smtp.tls_sessions import TlsSessions
from shared.smtp.extensions import Extensions

# Servers that are remembered; the oldest is forgotten first. About 200 bytes each.
MAX_FAULTS: Final = 10_000


# How long a server whose TLS has failed gets its mail in clear text, without another try. An
# attacker who breaks one handshake gains no more than one who breaks them all: RFC 7435, 5.
BROKEN_TLS_S: Final = 3 * 3600.0
# How long a server that has refused BDAT though it offers CHUNKING is sent DATA.
BROKEN_CHUNKING_S: Final = 86_400.0
# How long a server that offers PIPELINING and has left the first group of commands of a connection
# half answered gets one command at a time. It may only have been slow: that costs round trips.
BROKEN_PIPELINING_S: Final = 3_600.0


class FaultMemory:
    """The servers at which something has failed lately, with the reason. Times are monotonic."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._faults: OrderedDict[tuple[str, int], tuple[float, str]] = OrderedDict()

    def fault(self, host: Host, now: float) -> str:
        """Why it failed at this server; "" if it is to be tried."""
        until, fault = self._faults.get((host.name, host.port), (now, ""))
        return fault if now < until else ""

    def remember(self, host: Host, fault: str, now: float) -> None:
        """Note the fault of a feature without which the server works."""
        self.forget(host)
        if len(self._faults) >= MAX_FAULTS:
            self._faults.popitem(last=False)
        self._faults[host.name, host.port] = (now + self._kept_s, fault)

    def forget(self, host: Host) -> None:
        """Try it with the next connection."""
        self._faults.pop((host.name, host.port), None)


class ServerMemory:
    """What is known of the servers, whatever source address mail is sent from; TLS sessions.

    `uses_chunking`: whether BDAT is used at all, where it is offered. `logins`: those at smart
    hosts; None: there are none.
    """

    def __init__(self, *, uses_chunking: bool = False, logins: Logins | None = None) -> None:
        self.logins = logins or Logins()
        self._uses_chunking = uses_chunking
        self.tls = FaultMemory(BROKEN_TLS_S)
        self.chunking = FaultMemory(BROKEN_CHUNKING_S)
        self.pipelining = FaultMemory(BROKEN_PIPELINING_S)
        self.sessions = TlsSessions()

    def usable(self, offered: Extensions, host: Host, now: float) -> Extensions:
        """What a server offers, without what is not used or has failed there."""
        takes_chunks = self._uses_chunking and not self.chunking.fault(host, now)
        return replace(
            offered,
            chunking=offered.chunking and takes_chunks,
            pipelining=offered.pipelining and not self.pipelining.fault(host, now),
        )
