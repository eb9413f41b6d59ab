"""The settings of the validate service."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.registry.file.fields import LANE_PATTERN
from shared.settings.addresses import PATH, Domain, host_fault
from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    ReturnPathSettings,
    RuntimeSettings,
    TelemetrySettings,
)

# The pattern is needed because a lane's name is a part of a topic's name.
_Lane = Annotated[
    str,
    Meta(
        pattern=rf"^{LANE_PATTERN}\Z",
        extra={"expected": "a lane (1 to 63 of a-z, 0-9 and inner hyphens)"},
    ),
]
# The domains of each shipped lane. One provider receives the mail of all domains of a lane, and
# applies one set of limits to this mail.
DEFAULT_LANES: dict[str, tuple[str, ...]] = {
    "gmail": ("gmail.com", "googlemail.com"),
    "microsoft": ("outlook.com", "hotmail.com", "live.com", "msn.com", "hotmail.de", "outlook.de"),
    "yahoo": ("yahoo.com", "yahoo.de", "aol.com", "ymail.com"),
}


class ValidateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The rules and the lanes."""

    max_message_bytes: Annotated[
        int,
        Meta(ge=1_000, le=10_000_000, description="Largest message that rule R1 allows."),
    ] = 307_200
    max_records: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Maximum number of packs (of up to 64 messages) per transaction.",
        ),
    ] = 24
    duplicate_window_h: Annotated[
        int,
        Meta(
            ge=0,
            le=840,
            description="Number of hours for which a duplicate of a submission is recognised, so"
            " that the message is sent only once. 0: duplicates are not detected, and each of them"
            " is sent.",
        ),
    ] = 48
    submissions_per_day: Annotated[
        int,
        Meta(
            ge=1_000,
            le=10_000_000_000,
            description="Submissions per day that the keys of duplicates are sized for; with more,"
            " each key takes more Redis memory. A change takes effect within 12 hours.",
        ),
    ] = 10_000_000
    counts_bounces: Annotated[
        bool,
        Meta(
            description="Whether `validate serve` also reads returned mail and counts bounces."
            " Only one of all processes counts; the others stand by. If off, `validate responses`"
            " must run as a separate process."
        ),
    ] = True
    forwards_per_window: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Maximum number of returned messages that go to a client's forwarding"
            " address one by one within a window. A digest lists the others when the window has"
            " ended.",
        ),
    ] = 1_000
    forward_window_s: Annotated[
        int,
        Meta(
            ge=1, le=86_400, description="Length in seconds of the window of `forwards_per_window`."
        ),
    ] = 3_600
    incident_bounces: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description="Number of hard bounces with the same status at one provider, within a"
            " window, at which an incident opens. These bounces are then held until an operator"
            " has reviewed them. 0: never. After a change, all bounces are counted again.",
        ),
    ] = 500
    incident_percent: Annotated[
        int,
        Meta(
            ge=1,
            le=99,
            description="An incident opens only if these hard bounces are also more than this "
            "percentage of the provider's outcomes.",
        ),
    ] = 50
    incident_window_s: Annotated[
        int,
        Meta(
            ge=10, le=86_400, description="Length in seconds of the window of `incident_bounces`."
        ),
    ] = 600
    lanes: Annotated[
        dict[_Lane, tuple[Domain, ...]],
        Meta(
            description="Recipient domains by lane; all others use the lane `default`. The value "
            "replaces the shipped lanes: repeat the lanes that should stay (lanes.md)."
        ),
    ] = msgspec.field(default_factory=DEFAULT_LANES.copy)


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP API for platforms, and the page for unsubscribing (`validate api`)."""

    http_host: Annotated[
        str,
        Meta(
            extra={"expected": "a host name or IP address", "check": host_fault},
            description="Address on which the API listens.",
        ),
    ] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the API; 0 picks a free one.")
    ] = 8026
    tls_certificate_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of the certificate and its chain. Empty: HTTP without TLS, for"
            " use behind a proxy.",
        ),
    ] = ""
    tls_key_file: Annotated[
        str, Meta(extra=PATH, description="PEM file of the certificate's private key.")
    ] = ""
    requests_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Maximum number of requests of one access key to one process in a minute;"
            " 0 for no limit.",
        ),
    ] = 600
    lookup_timeout_s: Annotated[
        float,
        Meta(
            ge=1,
            le=600,
            description="Seconds after which a look-up of messages ends with the events found so"
            " far.",
        ),
    ] = 20.0
    unsubscribe_days_valid: Annotated[
        int,
        Meta(
            ge=30,
            le=3_650,
            description="Days after the submission for which a link to unsubscribe works, as long"
            " as its key is in `return_path.keys_file`.",
        ),
    ] = 730


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of the validate service."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    validate: ValidateSettings = ValidateSettings()
    return_path: ReturnPathSettings = ReturnPathSettings()
    api: ApiSettings = ApiSettings()
