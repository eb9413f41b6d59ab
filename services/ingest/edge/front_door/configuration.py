"""The front door's options, limits and certificates, from the settings of ingest."""

from __future__ import annotations

import os
from typing import Final

from services.ingest.core.smtp_server.connection_limiter import ConnectionLimits
from services.ingest.edge.front_door.context import CONNECTIONS, ClientLimits
from services.ingest.edge.smtp_server.certificates import load_pair
from services.ingest.edge.smtp_server.context import TimeLimits
from services.ingest.edge.smtp_server.server import ListenAt, ServerPlan
from services.ingest.settings import IngestSettings
from shared.runtime.errors import UsageError
from shared.runtime.reloaded_files import Certificates
from shared.smtp.extensions import all_but_auth
from shared.smtp.server.options import ServerOptions

MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_NONCE_BYTES: Final = 18


def server_plan(settings: IngestSettings) -> ServerPlan:
    """Where the front door listens, and how many connections it takes."""
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
    """How many connections there may be."""
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
    """The limits of one client."""
    return ClientLimits(
        settings.smtp_max_connections_per_client,
        settings.smtp_messages_per_minute,
    )


def time_limits(settings: IngestSettings) -> TimeLimits:
    """How long each step of a connection may take."""
    return TimeLimits(
        settings.smtp_greeting_delay_s,
        settings.smtp_login_timeout_s,
        settings.smtp_idle_timeout_s,
        settings.smtp_data_timeout_s,
        settings.smtp_handshake_timeout_s,
    )


def load_certificates(settings: IngestSettings) -> Certificates:
    """Load the certificate of the settings. Raises UsageError naming the setting."""
    found = load_pair(settings, "tls_certificate_file", "tls_key_file")
    if found is None:
        raise UsageError(
            "ingest.tls_certificate_file is not set: clients can log in only over TLS, so the front"
            " door (ingest.smtp_listen) needs a certificate in PEM"
        )
    return found


def server_options(settings: IngestSettings) -> ServerOptions:
    """The SMTP extensions and limits that the front door offers."""
    return ServerOptions(
        host=settings.smtp_host_name,
        extensions=all_but_auth(starttls=True),
        max_content_bytes=settings.smtp_max_message_bytes,
        max_text_line_bytes=settings.smtp_max_line_bytes,
        auth_mechanisms=MECHANISMS,
        requires_auth=True,
        nonce=lambda: os.urandom(_NONCE_BYTES).hex(),
    )
