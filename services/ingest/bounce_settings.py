"""The settings of the bounce door, a part of the section `ingest`."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from shared.settings.addresses import PATH, ListenAddress, Network, own_name_fault
from shared.topics.names import INTAKE_MAX_RECORD_BYTES

# A record of mail.returned contains the message and fewer further bytes than this number.
_RECORD_ROOM_BYTES: Final = 65_536
MOST_MESSAGE_BYTES: Final = INTAKE_MAX_RECORD_BYTES - _RECORD_ROOM_BYTES


class BounceDoorSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings for receiving returned mail by SMTP."""

    bounce_listen: Annotated[
        tuple[ListenAddress, ...],
        Meta(
            max_length=16,
            description="Addresses on which the bounce door listens for returned mail: `host:port`"
            " each (port 25 in production). Empty: no bounce door.",
        ),
    ] = ()
    bounce_proxies: Annotated[
        tuple[Network, ...],
        Meta(
            max_length=64,
            description="Load balancers in front of the bounce door, in the form of"
            " `smtp_proxies`.",
        ),
    ] = ()
    bounce_host_name: Annotated[
        str,
        Meta(
            extra={"expected": "a host name", "check": own_name_fault},
            description="The bounce door's name in the MX records, sent in the greeting. Empty:"
            " `smtp_host_name`.",
        ),
    ] = ""
    bounce_tls_certificate_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of the bounce door's certificate chain; reloaded on change."
            " Empty: the certificate of the front door. If that is empty, too, STARTTLS is not"
            " offered.",
        ),
    ] = ""
    bounce_tls_key_file: Annotated[
        str, Meta(extra=PATH, description="PEM file of the private key of that certificate.")
    ] = ""
    bounce_postmaster: Annotated[
        str,
        Meta(
            pattern=r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)?\Z",
            extra={"expected": "the name of a client"},
            description="Client that gets mail to `postmaster` without a domain, and to"
            " `postmaster@` and `abuse@` the bounce door's own name. Empty: such mail is refused.",
        ),
    ] = ""
    bounce_max_message_bytes: Annotated[
        int,
        Meta(ge=65_536, le=MOST_MESSAGE_BYTES, description="Largest returned message."),
    ] = 5_242_880
    bounce_max_connections: Annotated[
        int,
        Meta(
            ge=1, le=100_000, description="Maximum number of open connections of the bounce door."
        ),
    ] = 1_000
    bounce_max_connections_per_address: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Maximum number of open connections from one address (an IPv6 /64).",
        ),
    ] = 50
    bounce_new_connections_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Maximum number of new connections per minute from one address (an IPv6"
            " /64); 0: no limit.",
        ),
    ] = 600
    bounce_errors_per_address_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Refused commands and recipients per minute from one address (an IPv6"
            " /64); after this many, the reply to further ones and to new connections is 421. 0:"
            " no limit. The limit within one session is 20 in all.",
        ),
    ] = 600
    bounce_messages_per_minute_per_address: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="Maximum number of messages per minute from one address (an IPv6 /64); 0:"
            " no limit.",
        ),
    ] = 6_000
    bounce_messages_per_minute_per_client: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="Maximum number of recipients per minute at the sending domain of one"
            " client; 0: no limit.",
        ),
    ] = 0
    bounce_max_held_bytes: Annotated[
        int,
        Meta(
            ge=4 * INTAKE_MAX_RECORD_BYTES,
            le=1_099_511_627_776,
            description="Maximum number of bytes of returned messages being received or stored,"
            " counted once per recipient; above this limit, or above a quarter of it from one"
            " address or half of it for one client, the reply to DATA is 451.",
        ),
    ] = 256 * 1024 * 1024
