"""The values that all connections of one front door share: limits, metrics and collaborators.

This module owns the metrics of the front door, and derives the door's addresses, options, limits
and certificate from the settings of the ingest service. The settings are in
services/ingest/settings.py, and the door is built in server.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from services.ingest.core.front_door.policy import HeldBytes
from services.ingest.core.smtp_server.connection_limiter import ConnectionLimits
from services.ingest.core.smtp_server.rates import FailedLogins, Rate
from services.ingest.edge.front_door.password_verifier import PasswordVerifier
from services.ingest.edge.smtp_server.context import ServerContext, TimeLimits
from services.ingest.edge.smtp_server.server import ListenAt, ServerPlan, load_pair
from services.ingest.edge.writing.outbox import Outbox
from services.ingest.settings import IngestSettings
from shared.registry.client import Client
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from shared.runtime.reloaded_files import Certificates
from shared.runtime.telemetry import Counter, Counters, Metric
from shared.smtp.extensions import all_but_auth
from shared.smtp.server.dialog import ServerOptions
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

MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_NONCE_BYTES: Final = 18


class ClientLimits(Struct, frozen=True):
    """The limits of a client for which the registry sets no limits."""

    connections_per_client: int
    messages_per_minute: int


class FrontDoorMetrics(Struct, frozen=True):
    """The counters of the front door.

    All counters except `failed_logins` have a label for the client.
    """

    accepted: Counter
    duplicates: Counter
    refused: Counter
    deferred: Counter
    failed_logins: Counter


class FrontDoorContext(Struct, frozen=True):
    """The values that all connections of one front door share."""

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
    # Returns a client that was removed but whose record still exists. If a removed client logs in
    # with the right password, the reply says that the client was removed.
    removed_client_of: Callable[[str], Client | None] = lambda _: None


def register_metrics(counters: Counters) -> FrontDoorMetrics:
    """Register the counters of the front door."""
    return FrontDoorMetrics(
        accepted=counters.counter(ACCEPTED),
        duplicates=counters.counter(DUPLICATES),
        refused=counters.counter(REFUSED),
        deferred=counters.counter(DEFERRED),
        failed_logins=counters.counter(FAILED_LOGINS),
    )


def server_plan(settings: IngestSettings) -> ServerPlan:
    """Return the addresses and the connection limits of the front door."""
    return ServerPlan(
        name="front door",
        listen=(
            *(ListenAt(address, "ingest.smtp_listen") for address in settings.smtp_listen),
            *(
                ListenAt(address, "ingest.smtps_listen", is_implicit=True)
                for address in settings.smtps_listen
            ),
        ),
        is_shared=settings.smtp_shared_ports,
        proxies=settings.smtp_proxies,
        limits=connection_limits(settings),
        connections=CONNECTIONS,
    )


def connection_limits(settings: IngestSettings) -> ConnectionLimits:
    """Return the connection limits."""
    return ConnectionLimits(
        settings.smtp_max_connections,
        settings.smtp_max_connections_per_address,
        settings.smtp_new_connections_per_minute,
        settings.smtp_errors_per_address_per_minute,
        settings.smtp_errors_per_client_per_minute,
        max(1, settings.smtp_max_connections * settings.smtp_before_login_percent // 100),
        settings.smtp_max_before_login_per_address,
    )


def client_limits(settings: IngestSettings) -> ClientLimits:
    """Return the default limits of one client."""
    return ClientLimits(
        settings.smtp_max_connections_per_client,
        settings.smtp_messages_per_minute,
    )


def time_limits(settings: IngestSettings) -> TimeLimits:
    """Return the time limits of a connection."""
    return TimeLimits(
        settings.smtp_greeting_delay_s,
        settings.smtp_login_timeout_s,
        settings.smtp_idle_timeout_s,
        settings.smtp_data_timeout_s,
        settings.smtp_handshake_timeout_s,
    )


def load_certificates(settings: IngestSettings) -> Certificates:
    """Load the certificate that the settings specify. Raises UsageError with the name of the
    setting."""
    found = load_pair(settings, "tls_certificate_file", "tls_key_file")
    if found is None:
        raise UsageError(
            "ingest.tls_certificate_file is not set: clients can log in only over TLS, so the front"
            " door (ingest.smtp_listen) needs a certificate in PEM"
        )
    return found


def server_options(settings: IngestSettings) -> ServerOptions:
    """Return the SMTP extensions and limits of the front door."""
    return ServerOptions(
        host=settings.smtp_host_name,
        extensions=all_but_auth(starttls=True),
        max_content_bytes=settings.smtp_max_message_bytes,
        max_text_line_bytes=settings.smtp_max_line_bytes,
        auth_mechanisms=MECHANISMS,
        requires_auth=True,
        nonce=lambda: os.urandom(_NONCE_BYTES).hex(),
    )
