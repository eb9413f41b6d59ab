"""The bounce door's options, limits and certificate, from the settings of ingest."""

from __future__ import annotations

from services.ingest.core.smtp_server.connection_limiter import ConnectionLimits
from services.ingest.edge.bounce_door.context import CONNECTIONS, MessageLimits
from services.ingest.edge.smtp_server.certificates import load_pair
from services.ingest.edge.smtp_server.context import TimeLimits
from services.ingest.edge.smtp_server.server import ListenAt, ServerPlan
from services.ingest.settings import IngestSettings
from shared.runtime.reloaded_files import Certificates
from shared.smtp.extensions import all_but_auth
from shared.smtp.server.options import ServerOptions


def server_plan(settings: IngestSettings) -> ServerPlan:
    """Where the bounce door listens, and how many connections it takes."""
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
    """How long each step of a connection may take; nobody logs in."""
    return TimeLimits(
        settings.smtp_greeting_delay_s,
        settings.smtp_idle_timeout_s,
        settings.smtp_idle_timeout_s,
        settings.smtp_data_timeout_s,
        settings.smtp_handshake_timeout_s,
    )


def message_limits(settings: IngestSettings) -> MessageLimits:
    """How many messages per minute are taken."""
    return MessageLimits(
        settings.bounce_messages_per_minute_per_address,
        settings.bounce_messages_per_minute_per_client,
    )


def load_certificates(settings: IngestSettings) -> Certificates | None:
    """Load the bounce door's certificate, else the front door's; None if neither is set.

    Raises UsageError naming the setting.
    """
    return load_pair(settings, "bounce_tls_certificate_file", "bounce_tls_key_file") or load_pair(
        settings, "tls_certificate_file", "tls_key_file"
    )


def server_options(settings: IngestSettings, *, has_tls: bool) -> ServerOptions:
    """The SMTP extensions and limits that the bounce door offers.

    The bytes of a bounce are data: odd line ends and NUL come from the systems that bounce, which
    do not send a better one later. Only CRLF.CRLF ends a message all the same.
    """
    return ServerOptions(
        host=settings.bounce_host_name,
        extensions=all_but_auth(starttls=has_tls),
        max_content_bytes=settings.bounce_max_message_bytes,
        refuse_bare_line_ends=False,
        refuse_nul=False,
        counts_refusals=True,
    )
