"""The front door's options, limits and certificates, from the settings of ingest."""

from __future__ import annotations

import os
from typing import Final

from services.ingest.core.smtp_server.connection_limiter import ConnectionLimits
from services.ingest.edge.front_door.context import ClientLimits
from services.ingest.edge.smtp_server.certificates import Certificates
from services.ingest.edge.smtp_server.context import TimeLimits
from services.ingest.settings import IngestSettings
from shared.runtime.errors import UsageError
from shared.smtp.extensions import Extensions
from shared.smtp.server.options import ServerOptions

MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_NONCE_BYTES: Final = 18


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
    """What one client may use."""
    return ClientLimits(
        settings.smtp_max_held_bytes,
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
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if bool(certificate) != bool(key):
        raise UsageError("ingest.tls_certificate_file and ingest.tls_key_file must be set together")
    if not certificate:
        raise UsageError(
            "ingest.tls_certificate_file: found nothing, expected a PEM file: clients can log in"
            " only over TLS, so the front door (ingest.smtp_listen) needs a certificate"
        )
    return Certificates(certificate, key)


def server_options(settings: IngestSettings) -> ServerOptions:
    """What the front door offers to its clients."""
    return ServerOptions(
        host=settings.smtp_host_name,
        extensions=Extensions(
            pipelining=True,
            size=True,
            eight_bit_mime=True,
            smtputf8=True,
            enhanced_status_codes=True,
            starttls=True,
        ),
        max_content_bytes=settings.smtp_max_message_bytes,
        max_text_line_bytes=settings.smtp_max_line_bytes,
        auth_mechanisms=MECHANISMS,
        requires_auth=True,
        nonce=lambda: os.urandom(_NONCE_BYTES).hex(),
    )
