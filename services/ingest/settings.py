"""The settings of the ingest service."""

from __future__ import annotations

import socket
from typing import Annotated

from msgspec import Meta, Struct, structs

from services.ingest.bounce_settings import BounceDoorSettings
from shared.settings.addresses import PATH, ListenAddress, Network, own_name_fault
from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    ReturnPathSettings,
    RuntimeSettings,
    TelemetrySettings,
)


class IngestSettings(BounceDoorSettings, frozen=True, forbid_unknown_fields=True):
    """The settings for reading the intakes, for the front door and for the bounce door."""

    code_header: Annotated[
        str,
        Meta(
            pattern=r"^[!-9;-~]{1,64}\Z",
            description="Name of the header that carries a client's code (rule R8).",
        ),
    ] = "X-bm-mailing"
    reads_intakes: Annotated[
        bool,
        Meta(
            description="Whether this process reads the intakes. If off, it only serves the doors"
            " that it has addresses for, and another process must read the intakes."
        ),
    ] = True
    max_records: Annotated[
        int, Meta(ge=1, le=10_000, description="Maximum number of submissions per transaction.")
    ] = 1_000
    smtp_listen: Annotated[
        tuple[ListenAddress, ...],
        Meta(
            max_length=16,
            description="Addresses on which the SMTP front door listens, with STARTTLS: `host:port`"
            " each (ports 25 and 587 in production). Empty: no front door.",
        ),
    ] = ()
    smtps_listen: Annotated[
        tuple[ListenAddress, ...],
        Meta(
            max_length=16,
            description="Addresses with implicit TLS from the first byte (port 465 in production).",
        ),
    ] = ()
    smtp_shared_ports: Annotated[
        bool,
        Meta(
            description="Whether several ingest processes of one host listen on the same"
            " addresses (SO_REUSEPORT); the kernel spreads the connections over them. One process"
            " uses little more than one processor. Limits apply to each process separately."
        ),
    ] = False
    smtp_proxies: Annotated[
        tuple[Network, ...],
        Meta(
            max_length=64,
            description="Addresses and networks of load balancers: a connection from them must"
            " begin with a PROXY protocol header, version 2, whose client address is used. Empty:"
            " there are no load balancers, and no such header is accepted.",
        ),
    ] = ()
    smtp_host_name: Annotated[
        str,
        Meta(
            extra={"expected": "a host name", "check": own_name_fault},
            description="Name sent in the greeting. Empty: the host's full name.",
        ),
    ] = ""
    tls_certificate_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of the front door's certificate chain; reloaded on change.",
        ),
    ] = ""
    tls_key_file: Annotated[
        str, Meta(extra=PATH, description="PEM file of the private key of that certificate.")
    ] = ""
    smtp_max_message_bytes: Annotated[
        int, Meta(ge=1_024, le=8_388_608, description="Largest message by SMTP (rule R1).")
    ] = 307_200
    smtp_max_line_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_048_576,
            description="Longest line of a message by SMTP, in bytes with its CRLF (RFC 5321:"
            " 1000); a message with a longer line is refused. 0: no limit.",
        ),
    ] = 1_000
    smtp_max_connections: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Maximum number of open connections of the front door."),
    ] = 4_000
    smtp_max_connections_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Maximum number of open connections from one address (an IPv6 /64).",
        ),
    ] = 1_000
    smtp_before_login_percent: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Percentage of `smtp_max_connections` that connections may use before they"
            " log in; the others are reserved for connections that have logged in.",
        ),
    ] = 50
    smtp_max_before_login_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Maximum number of connections that have not logged in, from one address"
            " (an IPv6 /64).",
        ),
    ] = 250
    smtp_max_connections_per_client: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Maximum number of open connections logged in as one client, unless its "
            "`max_connections` says otherwise.",
        ),
    ] = 200
    smtp_new_connections_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Maximum number of new connections per minute from one address (an IPv6"
            " /64); 0: no limit.",
        ),
    ] = 3_000
    smtp_max_held_bytes: Annotated[
        int,
        Meta(
            ge=8_388_608,
            le=1_099_511_627_776,
            description="Maximum number of bytes of messages being received or stored; above this "
            "limit, or for one client above half of it or twice the bytes that are still "
            "free, the reply to DATA is 451.",
        ),
    ] = 256 * 1024 * 1024
    smtp_messages_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="Maximum number of messages per minute from one client, unless its "
            "`max_messages_per_minute` says otherwise; 0: no limit.",
        ),
    ] = 0
    smtp_max_failed_logins: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Failed logins per minute from one address under one name; after this"
            " many, the reply is 421.",
        ),
    ] = 10
    smtp_max_failed_logins_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Failed logins per minute from one address (an IPv6 /64) under any names.",
        ),
    ] = 100
    smtp_errors_per_address_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Refused commands per minute from one address (an IPv6 /64); after this"
            " many, the reply to further ones and to new connections is 421. 0: no limit. The"
            " limit within one session is 20 in all.",
        ),
    ] = 3_000
    smtp_errors_per_client_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Refused commands per minute of one client from all addresses; messages"
            " that violate a rule are not counted.",
        ),
    ] = 3_000
    smtp_idle_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="How long a whole command may take to arrive (RFC 5321: 300), after"
            " login; at the bounce door for every command. This limit and the next four settings"
            " apply to both doors.",
        ),
    ] = 300.0
    smtp_login_timeout_s: Annotated[
        float,
        Meta(gt=0, le=600, description="How long a client may take from connecting to its login."),
    ] = 30.0
    smtp_handshake_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=300,
            description="Time limit for a TLS handshake, and for the header of a proxy before the"
            " handshake.",
        ),
    ] = 30.0
    smtp_data_timeout_s: Annotated[
        float, Meta(gt=0, le=1_800, description="How long one message may take to arrive.")
    ] = 300.0
    smtp_greeting_delay_s: Annotated[
        float,
        Meta(
            ge=0,
            le=30,
            description="Pause before the greeting; a client that sends data during it is"
            " disconnected.",
        ),
    ] = 0.05

    def __post_init__(self) -> None:
        if not self.smtp_host_name:
            structs.force_setattr(self, "smtp_host_name", socket.getfqdn())
        if not self.bounce_host_name:
            structs.force_setattr(self, "bounce_host_name", self.smtp_host_name)


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of the ingest service."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    return_path: ReturnPathSettings = ReturnPathSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ingest: IngestSettings = IngestSettings()
