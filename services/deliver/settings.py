"""The settings of deliver."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from shared.settings.sections import KafkaSettings, RuntimeSettings, TelemetrySettings

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"


class DeliverSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Sending: routes, pools, limits, retries."""

    ehlo_name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9.-]*\Z",
            description="Name sent in EHLO. Empty: the host's full name.",
        ),
    ] = ""
    routes: Annotated[
        dict[str, str],
        Meta(
            description="Overrides of MX look-ups: maps a recipient domain, or `*` for all others,"
            " to `host:port`. For relays and tests."
        ),
    ] = {}
    reach_internet: Annotated[
        bool,
        Meta(
            description="Confirms that messages without a route go to the mail servers of their"
            " recipients' domains. Without it deliver warns at its start."
        ),
    ] = False
    dkim_key_file: Annotated[
        str,
        Meta(
            description="PEM file of the private key for DKIM signatures: RSA of 2048 to 4096 bits,"
            " or Ed25519. Mail is signed for the domain of the envelope sender. Empty: mail is not"
            " signed."
        ),
    ] = ""
    dkim_selector: Annotated[
        str,
        Meta(
            pattern=rf"^{_LABEL}(\.{_LABEL})*\Z",
            max_length=63,
            extra={"expected": "at most 63 letters, digits, `-` and `.`, as in a domain name"},
            description="Where each sending domain publishes the public key: a TXT record at"
            " `<selector>._domainkey.<domain>`.",
        ),
    ] = "sluice"
    max_connections: Annotated[
        int, Meta(ge=1, le=1_000, description="Most connections to one site at a time.")
    ] = 20
    max_messages_per_connection: Annotated[
        int, Meta(ge=1, le=100_000, description="Most messages sent over one connection.")
    ] = 100
    idle_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="How long an unused connection is kept open.")
    ] = 5.0
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="Time limit for a TCP connect.")
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
    max_in_flight: Annotated[
        int,
        Meta(
            ge=1,
            le=20_000,
            description="Most messages in progress at a time; a crash may send these twice.",
        ),
    ] = 2_000
    max_in_flight_bytes: Annotated[
        int,
        Meta(ge=1_000_000, le=1_000_000_000, description="Most bytes of messages in progress."),
    ] = 64 * 1024 * 1024
    commit_interval_s: Annotated[
        float, Meta(gt=0, le=10, description="How long an outcome waits for its transaction.")
    ] = 0.1
    retry_time_scale: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Factor on the delays between attempts; below 1 for tests and demos only.",
        ),
    ] = 1.0

    in_doubt_delay_s: Annotated[
        float,
        Meta(
            ge=0,
            le=43_200,
            description="Shortest delay after an attempt whose content was sent and not answered:"
            " the server may still deliver it (RFC 5321 4.5.3.2.6: 10 minutes). The next longer"
            " delay step is used; `deliver.retry_time_scale` applies to it too.",
        ),
    ] = 600.0


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of deliver."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    deliver: DeliverSettings = DeliverSettings()
