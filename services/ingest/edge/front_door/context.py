"""What all connections of one front door share: limits, metrics, collaborators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from services.ingest.core.front_door.held_bytes import HeldBytes
from services.ingest.core.smtp_server.rates import FailedLogins, Rate
from services.ingest.edge.front_door.password_verifier import PasswordVerifier
from services.ingest.edge.smtp_server.context import ServerContext
from services.ingest.edge.writing.outbox import Outbox
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.topics.records import Facts, MailEvent, Message

_BY_CLIENT: Final = ("client",)
ACCEPTED: Final = Metric("sluice_ingest_door_accepted", "Messages answered with 250.", _BY_CLIENT)
DUPLICATES: Final = Metric(
    "sluice_ingest_door_duplicates",
    "Messages answered with 250 that are duplicates and not sent again.",
    _BY_CLIENT,
)
REFUSED: Final = Metric("sluice_ingest_door_refused", "Messages refused after DATA.", _BY_CLIENT)
DEFERRED: Final = Metric(
    "sluice_ingest_door_deferred",
    "Messages answered with 451 because Kafka did not acknowledge.",
    _BY_CLIENT,
)
FAILED_LOGINS: Final = Metric("sluice_ingest_door_failed_logins", "Logins refused.")
TURNED_AWAY: Final = Metric(
    "sluice_ingest_door_turned_away",
    "Connections ended at a limit, in a handshake or at a proxy header.",
    ("reason",),
)
CERTIFICATE: Final = Metric(
    "sluice_ingest_door_certificate_expires_s",
    "Unix time in seconds at which the front door's certificate expires.",
)
CONNECTIONS: Final = Metric(
    "sluice_ingest_door_connections",
    "Open SMTP connections, including those in a TLS handshake.",
)


class ClientLimits(Struct, frozen=True):
    """The limits of a client for which the registry sets none of its own."""

    connections_per_client: int
    messages_per_minute: int


class FrontDoorMetrics(Struct, frozen=True):
    """The counters of the front door, by client where there is one."""

    accepted: Counter
    duplicates: Counter
    refused: Counter
    deferred: Counter
    failed_logins: Counter


def register_metrics(counters: Counters) -> FrontDoorMetrics:
    """Register the counters of the front door."""
    return FrontDoorMetrics(
        accepted=counters.counter(ACCEPTED),
        duplicates=counters.counter(DUPLICATES),
        refused=counters.counter(REFUSED),
        deferred=counters.counter(DEFERRED),
        failed_logins=counters.counter(FAILED_LOGINS),
    )


class FrontDoorContext(Struct, frozen=True):
    """What all connections of one front door share."""

    server: ServerContext
    limits: ClientLimits
    client_of: Callable[[str], Client | None]
    passwords: PasswordVerifier
    failures: FailedLogins
    rate: Rate
    held: HeldBytes
    messages: Outbox[Message]
    refusals: Outbox[tuple[str, MailEvent]]
    scan: Callable[[bytes], Facts]
    new_mail_id: Callable[[int], str]
    clock: Clock
    metrics: FrontDoorMetrics
    failpoints: Failpoints
    # Removed clients that are kept: a login with the right password learns of the removal.
    removed_client_of: Callable[[str], Client | None] = lambda _: None
