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
from shared.runtime.telemetry import Counter
from shared.smtp.server import ServerOptions
from shared.stream.failpoints import Failpoints
from shared.topics.records import Facts, MailEvent, Message


class Connection(Protocol):
    """What a door knows of a connection it keeps."""

    address: str


class Limits(Struct, frozen=True):
    """Time limits in seconds, and the bytes that may be received or stored at a time."""

    greeting_delay_s: float
    idle_timeout_s: float
    data_timeout_s: float
    max_held_bytes: int


class DoorCounts(Struct, frozen=True):
    """The numbers of the front door, by client where there is one."""

    accepted: Counter
    refused: Counter
    deferred: Counter
    failed_logins: Counter


class Connections(Protocol):
    """The open connections and what they hold together."""

    held_bytes: int
    is_draining: bool

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
