"""What all connections of one front door share: limits, counts, collaborators."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from services.ingest.core.access import FailedLogins, Rate
from services.ingest.edge.logins import Logins
from services.ingest.edge.outbox import Outbox
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter
from shared.smtp.server.options import ServerOptions
from shared.topics.records import Facts, MailEvent, Message


class Connection(Protocol):
    """What a door knows of a connection it keeps."""

    is_storing: bool

    def sweep(self, now: float) -> None:
        """End it where it has been slow for too long."""
        ...

    def end(self) -> None:
        """Say that the service stops, and close."""
        ...


class Limits(Struct, frozen=True):
    """Time limits in seconds, the bytes that may be received or stored at a time, and what a
    client may do that the registry sets no limit of its own for."""

    greeting_delay_s: float
    idle_timeout_s: float
    data_timeout_s: float
    handshake_timeout_s: float
    max_held_bytes: int
    connections_per_client: int
    messages_per_minute: int
    login_timeout_s: float


class DoorCounts(Struct, frozen=True):
    """The numbers of the front door, by client where there is one."""

    accepted: Counter
    repeated: Counter
    refused: Counter
    deferred: Counter
    failed_logins: Counter
    turned_away: Counter


class Connections(Protocol):
    """The open connections and what they hold together."""

    held_bytes: int
    is_draining: bool

    def add(self, connection: Connection, /) -> None:
        """Keep one that is open."""
        ...

    def remove(self, connection: Connection, /) -> None:
        """Forget one that is closed."""
        ...


class Door(Struct, frozen=True):
    """What all connections of one front door share."""

    options: ServerOptions
    limits: Limits
    client_of: Callable[[str], Client | None]
    logins: Logins
    failures: FailedLogins
    rate: Rate
    messages: Outbox[Message]
    refusals: Outbox[tuple[str, MailEvent]]
    scan: Callable[[bytes], Facts]
    new_mail_id: Callable[[int], str]
    clock: Clock
    counts: DoorCounts
    failpoints: Failpoints
    connections: Connections
    tls: Callable[[], ssl.SSLContext | None]
