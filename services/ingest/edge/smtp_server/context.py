"""The interfaces inside an SMTP server, between the server, its connections and their policies.

The server (server.py) has the list of connections. A connection (connection.py) owns the protocol,
the time limits and TLS. A policy owns the replies: it accepts or refuses logins, senders,
recipients and messages. Owns: these interfaces, and the values that the connections of one server
share.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from msgspec import Struct

from services.ingest.core.smtp_server.connection_limiter import ConnectionSlot
from shared.runtime.telemetry import Counter
from shared.smtp.events import ServerEvent
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession


class TimeLimits(Struct, frozen=True):
    """Seconds before the greeting, for a login, between commands, for a message and for TLS."""

    greeting_delay_s: float
    login_timeout_s: float
    idle_timeout_s: float
    data_timeout_s: float
    handshake_timeout_s: float


class Connection(Protocol):
    """An open connection, as its server sees it."""

    @property
    def is_storing(self) -> bool:
        """Return whether the reply to a whole message is pending."""
        ...

    def sweep(self, now: float) -> None:
        """Close the connection if its deadline has passed."""
        ...

    def end(self) -> None:
        """Send 421 and close."""
        ...


class Connections(Protocol):
    """The open connections of a server."""

    @property
    def is_draining(self) -> bool:
        """Return whether the server is stopping."""
        ...

    def add(self, connection: Connection, /) -> None:
        """Keep an open connection."""
        ...

    def remove(self, connection: Connection, /) -> None:
        """Forget a closed connection."""
        ...


class ServerContext(Struct, frozen=True):
    """The values that the listener and the connections of one server share.

    `tls` returns the current TLS context; None if the server has no certificate. `turned_away`
    counts, by reason, the connections that ended because of a limit, a handshake or a proxy header.
    """

    options: ServerOptions
    limits: TimeLimits
    tls: Callable[[], ssl.SSLContext | None]
    turned_away: Counter
    connections: Connections


class Policy(Protocol):
    """The decisions about one connection."""

    @property
    def is_storing(self) -> bool:
        """Return whether a whole message has been received and its reply is pending."""
        ...

    def judge(self, event: ServerEvent) -> Reply | None:
        """Return the reply to an event. None means that `Conversation.answer` is called later."""
        ...

    def judge_growth(self, size_bytes: int) -> Reply | None:
        """Judge a message of which `size_bytes` have arrived.

        If a reply is returned, it ends the connection.
        """
        ...

    def connection_lost(self) -> None:
        """Release the held bytes of the connection."""
        ...


class Conversation(Protocol):
    """The connection, as its policy sees it."""

    @property
    def session(self) -> ServerSession:
        """Return the protocol state, with the name under which the peer is logged in."""
        ...

    @property
    def slot(self) -> ConnectionSlot:
        """Return the peer's address and its slot among all connections."""
        ...

    def answer(self, reply: Reply) -> None:
        """Answer the event that `judge` left open, and process the bytes that arrived meanwhile."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the connection; if it crashes, the connection is closed."""
        ...


NewPolicy = Callable[[Conversation], Policy]
