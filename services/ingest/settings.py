"""The settings of ingest."""

from __future__ import annotations

import ipaddress
import socket
from typing import Annotated, Final

from msgspec import Meta, Struct, structs

from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    RuntimeSettings,
    TelemetrySettings,
)

_ADDRESS: Final = r"^(\[[0-9a-fA-F:.]+\]|[^\s,:\[\]]+):[0-9]{1,5}\Z"
Address = Annotated[str, Meta(pattern=_ADDRESS, extra={"expected": "host:port"})]
Network = Annotated[
    str,
    Meta(pattern=r"^[0-9a-fA-F.:/]{2,49}\Z", extra={"expected": "an IP address or network"}),
]


class IngestSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Reading the intakes, and the SMTP front door."""

    code_header: Annotated[
        str,
        Meta(
            pattern=r"^[!-9;-~]{1,64}\Z",
            description="Name of the header that names a client's code (rule R8).",
        ),
    ] = "X-bm-mailing"
    max_records: Annotated[
        int, Meta(ge=1, le=10_000, description="Most submissions of one transaction.")
    ] = 1_000
    smtp_listen: Annotated[
        tuple[Address, ...],
        Meta(
            max_length=16,
            description="Where the SMTP front door listens, with STARTTLS: `host:port` each (25"
            " and 587 in earnest). Empty: there is none.",
        ),
    ] = ()
    smtps_listen: Annotated[
        tuple[Address, ...],
        Meta(max_length=16, description="The same with TLS from the first byte on (465)."),
    ] = ()
    smtp_shared_ports: Annotated[
        bool,
        Meta(
            description="Whether several ingest processes of one host listen on the same"
            " addresses (SO_REUSEPORT); the kernel spreads the connections over them. One process"
            " uses little more than one processor. Limits hold in each process."
        ),
    ] = False
    smtp_proxies: Annotated[
        tuple[Network, ...],
        Meta(
            max_length=64,
            description="Addresses and networks of load balancers: what connects from them begins"
            " with a PROXY protocol header, version 2, whose client address then counts. Empty:"
            " there are none, and no such header is believed.",
        ),
    ] = ()
    smtp_host_name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9.-]*\Z",
            description="Name said in the greeting. Empty: the host's full name.",
        ),
    ] = ""
    tls_certificate_file: Annotated[
        str, Meta(description="Certificate chain of the front door, PEM; read anew on change.")
    ] = ""
    tls_key_file: Annotated[str, Meta(description="Its private key, PEM.")] = ""
    smtp_max_message_bytes: Annotated[
        int, Meta(ge=1_024, le=8_388_608, description="Largest message by SMTP (rule R1).")
    ] = 307_200
    smtp_max_line_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_048_576,
            description="Longest line of a message by SMTP, with its CRLF (RFC 5321: 1000);"
            " a message with a longer one is refused. 0: no limit.",
        ),
    ] = 1_000
    smtp_max_connections: Annotated[
        int, Meta(ge=1, le=100_000, description="Open connections of the front door.")
    ] = 4_000
    smtp_max_connections_per_address: Annotated[
        int, Meta(ge=1, le=100_000, description="Of those, from one address (an IPv6 /64).")
    ] = 1_000
    smtp_before_login_percent: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="How many percent of `smtp_max_connections` may be connections that have"
            " not logged in; the others are kept for those that have.",
        ),
    ] = 50
    smtp_max_before_login_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Of those that have not logged in, from one address (an IPv6 /64).",
        ),
    ] = 250
    smtp_max_connections_per_client: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Of those, logged in as one client whose `max_connections` says nothing"
            " else.",
        ),
    ] = 200
    smtp_new_connections_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="New connections of one address (an IPv6 /64) a minute; 0: no limit.",
        ),
    ] = 3_000
    smtp_max_held_bytes: Annotated[
        int,
        Meta(
            ge=8_388_608,
            description="Bytes of messages being received or stored; beyond it DATA is"
            " answered with 451.",
        ),
    ] = 256 * 1024 * 1024
    smtp_messages_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Most messages a minute of one client whose `max_messages_per_minute` says"
            " nothing else; 0: no limit.",
        ),
    ] = 0
    smtp_max_failed_logins: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Failed logins of one address under one name a minute, then 421.",
        ),
    ] = 10
    smtp_max_failed_logins_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="The same under whatever names, of one address (an IPv6 /64).",
        ),
    ] = 100
    smtp_errors_per_address_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Refused commands a minute of one address (an IPv6 /64), then 421 to"
            " them and to new connections; 0: no limit. Within one session it is 20 in all.",
        ),
    ] = 3_000
    smtp_errors_per_client_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="The same of one logged-in client, from all its addresses; messages that"
            " break a rule are not counted.",
        ),
    ] = 3_000
    smtp_idle_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="How long a whole command may take to come (RFC 5321: 300), after login.",
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
            description="How long a TLS handshake may take, and a proxy's header before it.",
        ),
    ] = 30.0
    smtp_data_timeout_s: Annotated[
        float, Meta(gt=0, le=1_800, description="How long one message may take to come.")
    ] = 300.0
    smtp_greeting_delay_s: Annotated[
        float,
        Meta(ge=0, le=30, description="Pause before the greeting; who speaks in it is let go."),
    ] = 0.05

    def __post_init__(self) -> None:
        for text in self.smtp_proxies:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"ingest.smtp_proxies: an IP address or network, such as 10.1.2.0/24: {error}"
                ) from None
        if not self.smtp_host_name:
            structs.force_setattr(self, "smtp_host_name", socket.getfqdn())


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything ingest is told."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ingest: IngestSettings = IngestSettings()
