"""What all connections of one SMTP server share: protocol options, time limits, counters."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from shared.runtime.telemetry import Counter
from shared.smtp.server.options import ServerOptions


class TimeLimits(Struct, frozen=True):
    """Seconds before the greeting, until a login, between commands, for a message, for TLS."""

    greeting_delay_s: float
    login_timeout_s: float
    idle_timeout_s: float
    data_timeout_s: float
    handshake_timeout_s: float


class Connection(Protocol):
    """An open connection, as the server that keeps it sees it."""

    @property
    def is_storing(self) -> bool:
        """Whether the reply to a whole message is pending: the connection waits for us."""
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
        """Whether the server is stopping."""
        ...

    def add(self, connection: Connection, /) -> None:
        """Keep an open connection."""
        ...

    def remove(self, connection: Connection, /) -> None:
        """Forget a closed connection."""
        ...


class ServerContext(Struct, frozen=True):
    """What the listener and the connections of one server share.

    `tls` returns the current TLS context, None if the server has no certificate. `turned_away`
    counts connections that a limit, a handshake or a proxy header ended, by reason.
    """

    options: ServerOptions
    limits: TimeLimits
    tls: Callable[[], ssl.SSLContext | None]
    turned_away: Counter
    connections: Connections
