"""What all connections of one bounce door share: limits, metrics, collaborators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from services.ingest.core.bounce_door.held_bytes import HeldBytes
from services.ingest.core.bounce_door.recipients import Known
from services.ingest.core.smtp_server.rates import Rate
from services.ingest.edge.bounce_door.returned_writer import ReturnedMail
from services.ingest.edge.smtp_server.context import ServerContext
from services.ingest.edge.writing.outbox import Outbox
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.telemetry import Counter, Counters, Metric

ACCEPTED: Final = Metric(
    "sluice_ingest_bounce_door_accepted",
    "Returned messages written to mail.returned, one per recipient.",
    ("client", "kind"),
)
REFUSED: Final = Metric(
    "sluice_ingest_bounce_door_refused",
    "Refused recipients (forged, expired, relaying, syntax, postmaster) and messages (content).",
    ("reason",),
)
DEFERRED: Final = Metric(
    "sluice_ingest_bounce_door_deferred",
    "Commands and messages answered with a temporary refusal: Kafka did not acknowledge, or a"
    " limit of messages or bytes.",
    ("reason",),
)
TURNED_AWAY: Final = Metric(
    "sluice_ingest_bounce_door_turned_away",
    "Connections ended at a limit, in a handshake or at a proxy header.",
    ("reason",),
)
CERTIFICATE: Final = Metric(
    "sluice_ingest_bounce_door_certificate_expires_s",
    "Unix time in seconds at which the bounce door's certificate expires.",
)
CONNECTIONS: Final = Metric("sluice_ingest_bounce_door_connections", "Open SMTP connections.")


class MessageLimits(Struct, frozen=True):
    """Messages per minute from one address, and for one client; 0: no limit."""

    per_address: int
    per_client: int


class BounceDoorMetrics(Struct, frozen=True):
    """The counters of the bounce door."""

    accepted: Counter
    refused: Counter
    deferred: Counter


def register_metrics(counters: Counters) -> BounceDoorMetrics:
    """Register the counters of the bounce door."""
    return BounceDoorMetrics(
        counters.counter(ACCEPTED), counters.counter(REFUSED), counters.counter(DEFERRED)
    )


class BounceDoorContext(Struct, frozen=True):
    """What all connections of one bounce door share.

    `known` returns what recipients are judged by at this time (Unix milliseconds).
    """

    server: ServerContext
    limits: MessageLimits
    known: Callable[[int], Known]
    address_rate: Rate
    client_rate: Rate
    held: HeldBytes
    messages: Outbox[ReturnedMail]
    new_return_id: Callable[[int], str]
    clock: Clock
    metrics: BounceDoorMetrics
    failpoints: Failpoints
