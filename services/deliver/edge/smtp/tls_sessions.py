"""TLS sessions of servers, so that the next connection to one takes a shorter handshake.

Owns: the sessions of one process, bounded in time and number, and how a handshake offers one. Does
not own: when a policy allows it (opening.py), the fallback if a server cannot resume (opening.py).

A session is used only for the same server (name, port and address), from the same source, under the
same policy, and with the context that it was made with: a session whose certificate nobody had to
verify is never offered where one must be. A resumed handshake shows no certificate, so the check of
the first handshake counts for MAX_AGE_S. RFC 8446, 2.2; RFC 5077. See
docs/decisions/0188-tls-sessions.md.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

from services.deliver.edge.smtp.tls_reading import OrderlyObject

# A certificate that is replaced or expires is noticed after this time.
MAX_AGE_S: Final = 3_600.0
# With the server's certificates about 8 KB each; the oldest is forgotten first.
MAX_SESSIONS: Final = 2_000

# Event loops make the SSLObject of a connection themselves, from the context alone. This is the
# session that the task that starts TLS wants to resume; each task has its own.
OFFERED: ContextVar[ssl.SSLSession | None] = ContextVar("offered_tls_session", default=None)


class ResumingObject(OrderlyObject):
    """The client side of a TLS connection that offers the session of its task."""

    _has_begun = False

    def do_handshake(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            if (session := OFFERED.get()) is not None:
                self.session = session
        super().do_handshake()


class SessionKey(Struct, frozen=True):
    """The values that must be equal for a session to be resumed."""

    host: str
    port: int
    ip: str
    source: str
    policy: str


class TlsSessions:
    """The sessions that were made lately. Times are monotonic."""

    def __init__(self) -> None:
        self._kept: OrderedDict[SessionKey, tuple[ssl.SSLContext, ssl.SSLSession, float]]
        self._kept = OrderedDict()

    def find(self, key: SessionKey, context: ssl.SSLContext, now: float) -> ssl.SSLSession | None:
        """The session to offer; None if there is none."""
        found = self._kept.get(key)
        if found is None or found[0] is not context or now >= found[2]:
            return None
        return found[1]

    def keep(self, key: SessionKey, peer: ssl.SSLObject, now: float) -> None:
        """Keep the session of a connection that works, if it can be resumed.

        A resumed one is as old as the handshake that checked the certificate.
        """
        session = peer.session
        if session is None or not (session.has_ticket or session.id):
            return
        before = self._kept.pop(key, None)
        until = now + MAX_AGE_S
        if peer.session_reused and before is not None and before[0] is peer.context:
            until = before[2]
        elif peer.session_reused:
            return  # its handshake was forgotten meanwhile
        if len(self._kept) >= MAX_SESSIONS:
            self._kept.popitem(last=False)
        self._kept[key] = (peer.context, session, until)

    def forget(self, key: SessionKey) -> None:
        """Let the next connection take a full handshake."""
        self._kept.pop(key, None)
