"""What all connections of one front door share: limits, metrics, collaborators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from services.ingest.core.smtp_server.rates import FailedLogins, Rate
from services.ingest.edge.front_door.outbox import Outbox
from services.ingest.edge.front_door.password_verifier import PasswordVerifier
from services.ingest.edge.smtp_server.context import ServerContext
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter, Counters
from shared.topics.records import Facts, MailEvent, Message

ACCEPTED: Final = "sluice_ingest_door_accepted"
DUPLICATES: Final = "sluice_ingest_door_duplicates"
REFUSED: Final = "sluice_ingest_door_refused"
DEFERRED: Final = "sluice_ingest_door_deferred"
FAILED_LOGINS: Final = "sluice_ingest_door_failed_logins"
HELP: Final = {
    ACCEPTED: "Messages answered with 250, by client.",
    DUPLICATES: "Messages answered with 250 that are duplicates and not sent again, by client.",
    REFUSED: "Messages refused after DATA, by client.",
    DEFERRED: "Messages answered with 451 because Kafka did not acknowledge, by client.",
    FAILED_LOGINS: "Logins refused.",
}


class ClientLimits(Struct, frozen=True):
    """Bytes that may be received or stored at a time by all clients together, and the limits of
    a client for which the registry sets none of its own."""

    max_held_bytes: int
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

    def by_client(name: str) -> Counter:
        return counters.counter(name, HELP[name], ("client",))

    return FrontDoorMetrics(
        accepted=by_client(ACCEPTED),
        duplicates=by_client(DUPLICATES),
        refused=by_client(REFUSED),
        deferred=by_client(DEFERRED),
        failed_logins=counters.counter(FAILED_LOGINS, HELP[FAILED_LOGINS]),
    )


class HeldBytes:
    """The bytes of messages that are being received or stored, over all connections."""

    def __init__(self) -> None:
        self.size_bytes = 0


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
