"""Remembers features that do not work at a server, and TLS sessions.

If a server offers a feature that does not work, the feature is not tried on each connection. With a
TLS session, the next connection to a server has a shorter handshake.

A session is resumed only with the same server (name, port and address), from the same source, under
the same policy, and with the context that created the session. So a session with an unverified
certificate is never offered where the certificate must be verified. A resumed handshake shows no
certificate, so the check of the first handshake is valid for MAX_AGE_S. If the ticket of a session
has a shorter lifetime, the session is kept only for this lifetime. RFC 8446, 2.2 and 4.6.1; RFC
5077. See docs/decisions/0188-tls-sessions.md.

Owns: the memory of one process, bounded in time and number. Does not own: the steps without the
feature, the decision whether a policy allows a session, the fallback if a server cannot resume a
session (opening.py).
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.routing.sites import Host
from services.deliver.edge.smtp.logins import Logins
from shared.smtp.extensions import Extensions

# The largest number of remembered servers, with about 200 bytes each. The server that was
# remembered first is forgotten first.
MAX_FAULTS: Final = 10_000
# If the TLS of a server has failed, the server gets its mail in clear text for this long.
# Meanwhile, TLS is not tried again. An attacker who breaks one handshake gains no more than an
# attacker who breaks all handshakes (RFC 7435, 5).
BROKEN_TLS_S: Final = 3 * 3600.0
# DATA is used for this long at a server that offers CHUNKING but has refused BDAT.
BROKEN_CHUNKING_S: Final = 86_400.0
# Some servers offer PIPELINING but answer only a part of the first group of commands. Such a server
# gets one command at a time for this long. If the server was only slow, the single commands cost
# round trips.
BROKEN_PIPELINING_S: Final = 3_600.0
# The largest age of a session. A replaced or expired certificate is noticed after at most this
# time.
MAX_AGE_S: Final = 3_600.0
# A session takes about 8 KB, including the server's certificates. The oldest session is forgotten
# first.
MAX_SESSIONS: Final = 2_000


class SessionKey(Struct, frozen=True):
    """The values that must be equal for a session to be resumed."""

    host: str
    port: int
    ip: str
    source: str
    policy: str


class TlsSessions:
    """The recently created sessions. All times are times of the monotonic clock."""

    def __init__(self) -> None:
        self._kept: OrderedDict[SessionKey, tuple[ssl.SSLContext, ssl.SSLSession, float]]
        self._kept = OrderedDict()

    def find(self, key: SessionKey, context: ssl.SSLContext, now: float) -> ssl.SSLSession | None:
        """Return the session to offer, or None if no session can be offered."""
        found = self._kept.get(key)
        if found is None or found[0] is not context:
            return None
        if now >= found[2]:
            self.forget(key)
            return None
        return found[1]

    def keep(self, key: SessionKey, peer: ssl.SSLObject, now: float) -> None:
        """Keep the session of a connection that works, if it can be resumed.

        The age of a resumed session is measured from the handshake that checked the certificate.
        """
        session = peer.session
        if session is None or not (session.has_ticket or session.id):
            return
        before = self._kept.pop(key, None)
        # A lifetime of 0 means that the server does not specify a lifetime (RFC 5077, 3.3).
        until = now + min(MAX_AGE_S, session.ticket_lifetime_hint or MAX_AGE_S)
        if peer.session_reused and before is not None and before[0] is peer.context:
            until = min(until, before[2])
        elif peer.session_reused:
            return  # the session of its handshake was forgotten meanwhile
        self._make_room(now)
        self._kept[key] = (peer.context, session, until)

    def forget(self, key: SessionKey) -> None:
        """Forget this session, so that the next connection does a full handshake."""
        self._kept.pop(key, None)

    def _make_room(self, now: float) -> None:
        """Forget the oldest sessions as long as they have expired or the memory is full."""
        while self._kept:
            _, _, until = next(iter(self._kept.values()))
            if now < until and len(self._kept) < MAX_SESSIONS:
                return
            self._kept.popitem(last=False)


class FaultMemory:
    """The servers at which a feature has recently failed, with the reason.

    All times are times of the monotonic clock.
    """

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._faults: OrderedDict[tuple[str, int], tuple[float, str]] = OrderedDict()

    def fault(self, host: Host, now: float) -> str:
        """Return why the feature failed at this server, or "" if it may be tried."""
        until, fault = self._faults.get((host.name, host.port), (now, ""))
        return fault if now < until else ""

    def remember(self, host: Host, fault: str, now: float) -> None:
        """Remember that the feature failed, and that the server works without it."""
        self.forget(host)
        if len(self._faults) >= MAX_FAULTS:
            self._faults.popitem(last=False)
        self._faults[host.name, host.port] = (now + self._kept_s, fault)

    def forget(self, host: Host) -> None:
        """Forget the fault, so that the next connection tries the feature."""
        self._faults.pop((host.name, host.port), None)


class ServerMemory:
    """The memory of all servers. The openers of all source addresses share this object.

    If `uses_chunking` is set, BDAT is used at servers that offer CHUNKING. `logins` are the logins
    at smart hosts.
    """

    def __init__(self, *, uses_chunking: bool = False, logins: Logins | None = None) -> None:
        self.logins = logins or Logins()
        self._uses_chunking = uses_chunking
        self.tls = FaultMemory(BROKEN_TLS_S)
        self.chunking = FaultMemory(BROKEN_CHUNKING_S)
        self.pipelining = FaultMemory(BROKEN_PIPELINING_S)
        self.sessions = TlsSessions()

    def usable(self, offered: Extensions, host: Host, now: float) -> Extensions:
        """Return the offered extensions that are used and have not failed at this server."""
        takes_chunks = self._uses_chunking and not self.chunking.fault(host, now)
        return replace(
            offered,
            chunking=offered.chunking and takes_chunks,
            pipelining=offered.pipelining and not self.pipelining.fault(host, now),
        )
