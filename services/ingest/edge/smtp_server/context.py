"""The interfaces inside an SMTP server, between the server, its connections and their policies.

The server (server.py) has the list of connections. A connection (connection.py) owns the protocol,
the time limits and TLS. A policy owns the replies: it accepts or refuses logins, senders,
recipients and messages. This module defines these interfaces, and the values that the connections
of one server share.
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
    """The delay of the greeting, and the highest times for a login, between two commands, for a
    message and for a TLS handshake, in seconds."""

    greeting_delay_s: float
    login_timeout_s: float
    idle_timeout_s: float
    data_timeout_s: float
    handshake_timeout_s: float


class Connection(Protocol):
    """The methods that a server calls on its open connections."""

    @property
    def is_storing(self) -> bool:
        """Return True if the reply to a whole message is pending."""
        ...

    def sweep(self, now: float) -> None:
        """Close the connection if its deadline has passed."""
        ...

    def end(self) -> None:
        """Send 421 and close the connection."""
        ...


class Connections(Protocol):
    """The methods that connections call on their server."""

    @property
    def is_draining(self) -> bool:
        """Return True if the server is stopping."""
        ...

    def add(self, connection: Connection, /) -> None:
        """Add an open connection."""
        ...

    def remove(self, connection: Connection, /) -> None:
        """Remove a closed connection."""
        ...


class ServerContext(Struct, frozen=True):
    """The values that the listener and the connections of one server share.

    `tls` returns the current TLS context, or None if the server has no certificate. `turned_away`
    counts the connections that ended because of a limit, a handshake or a proxy header. Its label
    is the reason.
    """

    options: ServerOptions
    limits: TimeLimits
    tls: Callable[[], ssl.SSLContext | None]
    turned_away: Counter
    connections: Connections


class Policy(Protocol):
    """Makes the decisions about one connection."""

    @property
    def is_storing(self) -> bool:
        """Return True if a whole message was received and its reply is pending."""
        ...

    def judge(self, event: ServerEvent) -> Reply | None:
        """Return the reply to an event, or None. After None, the policy calls `Conversation.answer`
        later."""
        ...

    def judge_growth(self, size_bytes: int) -> Reply | None:
        """Judge a message of which `size_bytes` bytes have arrived.

        If the result is a reply, the reply is sent and the connection ends.
        """
        ...

    def connection_lost(self) -> None:
        """Release the held bytes of the connection."""
        ...


class Conversation(Protocol):
    """The methods that a policy calls on its connection."""

    @property
    def session(self) -> ServerSession:
        """Return the protocol state. It contains the name under which the peer is logged in."""
        ...

    @property
    def slot(self) -> ConnectionSlot:
        """Return the slot of this connection. The slot has the peer's address."""
        ...

    def answer(self, reply: Reply) -> None:
        """Send the reply to an event for which `judge` returned None, and process the bytes that
        have arrived since then."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends when the connection ends. If the task crashes, the connection is
        closed."""
        ...


NewPolicy = Callable[[Conversation], Policy]
