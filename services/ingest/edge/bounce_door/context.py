"""The values that all connections of one bounce door share: limits, metrics and collaborators.

This module owns the metrics of the bounce door, and derives the door's addresses, options, limits
and certificate from the settings of the ingest service. The settings are in bounce_settings.py, and
the door is built in server.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from services.ingest.core.bounce_door.held_bytes import HeldBytes
from services.ingest.core.bounce_door.recipients import Known
from services.ingest.core.smtp_server.connection_limiter import ConnectionLimits
from services.ingest.core.smtp_server.rates import Rate
from services.ingest.edge.smtp_server.context import ServerContext, TimeLimits
from services.ingest.edge.smtp_server.server import ListenAt, ServerPlan, load_pair
from services.ingest.edge.writing.outbox import Outbox
from services.ingest.settings import IngestSettings
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.reloaded_files import Certificates
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.smtp.extensions import all_but_auth
from shared.smtp.server.dialog import ServerOptions
from shared.topics.records import Returned

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
    """The highest number of messages per minute from one address, and for one client. 0 means no
    limit."""

    per_address: int
    per_client: int


class BounceDoorMetrics(Struct, frozen=True):
    """The counters of the bounce door."""

    accepted: Counter
    refused: Counter
    deferred: Counter


class ReturnedMail(Struct, frozen=True):
    """A returned message to one recipient."""

    returned: Returned
    content: bytes


class BounceDoorContext(Struct, frozen=True):
    """The values that all connections of one bounce door share.

    `known` returns the data that is needed to judge recipients at a given time (Unix milliseconds).
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


def register_metrics(counters: Counters) -> BounceDoorMetrics:
    """Register the counters of the bounce door."""
    return BounceDoorMetrics(
        counters.counter(ACCEPTED), counters.counter(REFUSED), counters.counter(DEFERRED)
    )


def server_plan(settings: IngestSettings) -> ServerPlan:
    """Return the addresses and the connection limits of the bounce door."""
    return ServerPlan(
        name="bounce door",
        listen=tuple(
            ListenAt(address, "ingest.bounce_listen") for address in settings.bounce_listen
        ),
        is_shared=settings.smtp_shared_ports,
        proxies=settings.bounce_proxies,
        limits=ConnectionLimits(
            settings.bounce_max_connections,
            settings.bounce_max_connections_per_address,
            settings.bounce_new_connections_per_minute,
            settings.bounce_errors_per_address_per_minute,
        ),
        connections=CONNECTIONS,
    )


def time_limits(settings: IngestSettings) -> TimeLimits:
    """Return the time limits of a connection. The limit for a login is not used by this door."""
    return TimeLimits(
        settings.smtp_greeting_delay_s,
        settings.smtp_idle_timeout_s,
        settings.smtp_idle_timeout_s,
        settings.smtp_data_timeout_s,
        settings.smtp_handshake_timeout_s,
    )


def message_limits(settings: IngestSettings) -> MessageLimits:
    """Return the limits of messages per minute."""
    return MessageLimits(
        settings.bounce_messages_per_minute_per_address,
        settings.bounce_messages_per_minute_per_client,
    )


def load_certificates(settings: IngestSettings) -> Certificates | None:
    """Load the certificate of the bounce door. If the settings do not specify this certificate,
    load the certificate of the front door.

    Returns None if the settings specify neither certificate. Raises UsageError with the name of the
    setting.
    """
    return load_pair(settings, "bounce_tls_certificate_file", "bounce_tls_key_file") or load_pair(
        settings, "tls_certificate_file", "tls_key_file"
    )


def server_options(settings: IngestSettings, *, has_tls: bool) -> ServerOptions:
    """Return the SMTP extensions and limits of the bounce door.

    Bare CR, bare LF and NUL are accepted, because the systems that send bounces would send the same
    bytes again later. Nevertheless, only CRLF.CRLF ends a message.
    """
    return ServerOptions(
        host=settings.bounce_host_name,
        extensions=all_but_auth(starttls=has_tls),
        max_content_bytes=settings.bounce_max_message_bytes,
        refuse_bare_line_ends=False,
        refuse_nul=False,
        counts_refusals=True,
    )
