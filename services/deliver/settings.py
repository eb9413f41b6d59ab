"""The settings of the deliver service."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from services.deliver.core.tls.policy import Level
from services.deliver.preparing_settings import PreparingSettings
from shared.settings.addresses import PATH, RoutedDomain, Target, own_name_fault
from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    ReturnPathSettings,
    RuntimeSettings,
    TelemetrySettings,
)
from shared.topics.records import MailClass


class DeliverSettings(PreparingSettings, Struct, frozen=True, forbid_unknown_fields=True):
    """Sending: routes, pools, limits, retries."""

    ehlo_name: Annotated[
        str,
        Meta(
            extra={"expected": "a host name", "check": own_name_fault},
            description="Name sent in EHLO; the address that mail is sent from should have the"
            " same name in its PTR record. Empty: the host's full name; the deliver service warns"
            " if the host has none.",
        ),
    ] = ""
    sources: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="Addresses of this host that mail is sent from. The key is a name that you"
            " choose; the value is the name sent in EHLO, then an IPv4 address, an IPv6 address or"
            " both (`docs/sources.md`). Empty: the system chooses the address, and EHLO has"
            " `deliver.ehlo_name`."
        ),
    ] = {}
    pools: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="Sources by pool, each with its weight if that is not 1, such as `mx1*3`. A"
            " client names its pool in the registry. If no pool is named `default`, that pool has"
            " all sources."
        ),
    ] = {}
    pool_by_class: Annotated[
        dict[MailClass, str],
        Meta(
            description="Pool by mail class (marketing, transactional), for mail of clients that"
            " name no pool. Without an entry: `default`."
        ),
    ] = {}
    require_sources: Annotated[
        bool,
        Meta(
            description="Whether the deliver service refuses to start if a check of `sluice"
            " sources check` finds an error: an address that this host does not have, no PTR"
            " record, a PTR record that does not resolve to the address, or a different EHLO name."
            " Otherwise the service warns."
        ),
    ] = False
    routes: Annotated[
        dict[RoutedDomain, Target],
        Meta(
            description="Overrides of MX look-ups: maps a recipient domain, or `*` for all others,"
            " to `host:port`. For relays and tests."
        ),
    ] = {}
    logins_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="TOML file of the logins at smart hosts that `deliver.routes` or `reroute`"
            " name (`docs/smart-hosts.md`); reloaded on change.",
        ),
    ] = ""
    reach_internet: Annotated[
        bool,
        Meta(
            description="Confirms that messages without a route go to the mail servers of their "
            "recipients' domains. Without this setting, the deliver service warns at its "
            "start."
        ),
    ] = False
    allow_private_addresses: Annotated[
        bool,
        Meta(
            description="Whether mail is sent to servers that the DNS names at private addresses"
            " (RFC 1918, RFC 6598, IPv6 ULA). If not, mail for a domain without other addresses"
            " bounces. Loopback and other special addresses are never used. Does not concern"
            " `deliver.routes`."
        ),
    ] = False
    tls_domains: Annotated[
        dict[RoutedDomain, Level],
        Meta(
            description="TLS by recipient domain, or `*` for all others: `required` sends over TLS"
            " only, `verified` also checks the certificate against the server's name,"
            " `opportunistic` ignores what the domain publishes (`docs/tls.md`)."
        ),
    ] = {}
    tls_clients: Annotated[
        dict[str, Level],
        Meta(
            description="TLS by client, for all its mail, with the levels of"
            " `deliver.tls_domains`. The stricter of two levels applies."
        ),
    ] = {}
    dane: Annotated[
        bool,
        Meta(
            description="Whether servers are checked by their TLSA records (DANE, RFC 7672). Turn"
            " it on only if the system's resolver validates DNSSEC, and runs on this host or is"
            " reached over a path that you trust: the deliver service trusts its AD bit. Does not"
            " concern `deliver.routes`."
        ),
    ] = False
    mta_sts: Annotated[
        bool,
        Meta(
            description="Whether the MTA-STS policies of recipient domains are followed (RFC 8461)."
            " They are fetched over HTTPS from port 443 of `mta-sts.<domain>`. Does not concern"
            " `deliver.routes`."
        ),
    ] = True
    tls_ca_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of CAs that are trusted in addition to the CAs of the system,"
            " for `verified` and MTA-STS.",
        ),
    ] = ""
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000, description="Maximum number of connections to one site at a time."),
    ] = 20
    max_messages_per_connection: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Maximum number of messages sent over one connection."),
    ] = 100
    idle_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="How long an unused connection is kept open.")
    ] = 5.0
    chunking: Annotated[
        bool,
        Meta(
            description="Whether servers that offer CHUNKING get content by BDAT (RFC 3030)."
            " BDAT has no reply 354, so a stray reply of a faulty server may be taken for the reply"
            " to the content."
        ),
    ] = False
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="Time limit for a TCP connect to one address.")
    ] = 30.0
    greeting_timeout_s: Annotated[
        float, Meta(gt=0, le=600, description="Time limit for the greeting (RFC 5321: 5 minutes).")
    ] = 60.0
    command_timeout_s: Annotated[
        float, Meta(gt=0, le=600, description="Time limit for the answer to a command.")
    ] = 60.0
    data_timeout_s: Annotated[
        float,
        Meta(gt=0, le=900, description="Time limit for the answer to the content after DATA."),
    ] = 300.0
    shaping_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="TOML file with your own limits, providers and reply rules, which replace"
            " the shipped ones value by value (`docs/shaping.md`). Empty: the shipped rules. It is"
            " read at the start.",
        ),
    ] = ""
    expected_workers: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Number of deliver processes that share the limits, used until Redis"
            " provides this number. Until then, each process keeps to its share of every limit.",
        ),
    ] = 1
    max_in_flight: Annotated[
        int,
        Meta(
            ge=1,
            le=20_000,
            description="Maximum number of messages in progress at a time. After a crash, these "
            "messages may be sent twice.",
        ),
    ] = 2_000
    max_in_flight_bytes: Annotated[
        int,
        Meta(
            ge=1_000_000,
            le=1_000_000_000,
            description="Maximum number of bytes of messages in progress.",
        ),
    ] = 64 * 1024 * 1024
    commit_interval_s: Annotated[
        float, Meta(gt=0, le=10, description="How long an outcome waits for its transaction.")
    ] = 0.1
    retry_time_scale: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Factor for the delays between attempts, and for the delays of mail that"
            " waits for its turn under a limit. A value below 1 is for tests and demos only: mail"
            " then gets its turn before the limit has room for it, and is written again and again.",
        ),
    ] = 1.0
    in_doubt_delay_s: Annotated[
        float,
        Meta(
            ge=0,
            le=43_200,
            description="Shortest delay after an attempt whose content was sent but not answered:"
            " the server may still deliver it (RFC 5321 4.5.3.2.6: 10 minutes). The next longer"
            " delay step is used; `deliver.retry_time_scale` applies to it too.",
        ),
    ] = 600.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of the deliver service."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    return_path: ReturnPathSettings = ReturnPathSettings()
    deliver: DeliverSettings = DeliverSettings()
