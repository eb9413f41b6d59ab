"""The settings of the billing service."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct, field

from shared.settings.addresses import PATH, host_fault, plain_fault
from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    RuntimeSettings,
    TelemetrySettings,
)

# These names in the time zone database do not mean the same zone on every host.
_OF_THE_HOST: Final = frozenset({"localtime", "posixrules"})


def _zone_fault(name: str) -> str:
    if name in _OF_THE_HOST:
        return "this name means another zone on another host"
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return "`timedatectl list-timezones` lists them"
    return ""


_POSTGRESQL: Final = ("postgresql://", "postgres://")


def _postgresql_fault(url: str) -> str:
    return "" if not url or url.startswith(_POSTGRESQL) else "it begins with postgresql://"


class BillingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Counting for the invoice, and the HTTP API for usage."""

    http_host: Annotated[
        str,
        Meta(
            extra={"expected": "a host name or IP address", "check": host_fault},
            description="Address on which the usage API listens.",
        ),
    ] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port of the usage API; 0 picks a free port.")
    ] = 0
    serve_without_keys: Annotated[
        bool,
        Meta(
            description="Answer the usage API also without an access key (`billing keys create`): "
            "everybody who reaches the API can then read everything. `up` and `demo` set "
            "this, on loopback."
        ),
    ] = False
    requests_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Maximum number of requests of one access key to one process in a minute;"
            " 0 for no limit.",
        ),
    ] = 600
    group: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            extra={"expected": "text of 1 to 255 characters", "check": plain_fault},
            description="Kafka consumer group of the billing workers.",
        ),
    ] = "sluice.billing"
    cells_key: Annotated[
        str,
        Meta(
            pattern=r"^\{[^{}]+\}[^{}]*\Z",
            description="Redis key of the live counts, beginning with a {hash tag}. Installations"
            " that share a Redis database need different keys.",
            extra={"secret": False},
        ),
    ] = "{sluice:billing}:cells"
    time_zone: Annotated[
        str,
        Meta(
            extra={"expected": "an IANA zone, such as Europe/Berlin", "check": _zone_fault},
            description="Time zone in which days and months begin and end, such as"
            " `Europe/Berlin`. The first close of a month fixes the zone. If you change the zone"
            " before that, drop the counts (`billing rebuild`).",
        ),
    ] = "UTC"
    poll_records: Annotated[
        int, Meta(ge=1, le=100_000, description="Maximum number of records counted at a time.")
    ] = 10_000
    store: Annotated[
        Literal["redis", "postgresql"], Meta(description="Where the live counts are kept.")
    ] = "redis"
    postgresql_url: Annotated[
        str,
        Meta(
            extra={
                "expected": "postgresql://USER@HOST[:PORT]/DATABASE",
                "check": _postgresql_fault,
            },
            description='The database, with `store = "postgresql"`. Missing tables are created;'
            " in the tables, `cells_key` identifies this installation.",
        ),
    ] = ""
    postgresql_password_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="File with the password of the database. Empty: libpq looks for the"
            " password.",
        ),
    ] = ""
    signing_key_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="File with the Ed25519 key that signs statements, from `billing signing-key"
            " create`. Empty: statements are not signed.",
        ),
    ] = ""
    close_automatically: Annotated[
        bool,
        Meta(
            description="Whether each month is closed after the grace period. If not, only"
            " `billing close` closes months."
        ),
    ] = True
    close_grace_h: Annotated[
        float,
        Meta(ge=0, le=24 * 366, description="Hours after the end of a month until it is closed."),
    ] = 72.0
    checkpoint_s: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="Seconds between two checkpoints of the counts on `billing.statements`. An "
            "emptied store is restored from these checkpoints.",
        ),
    ] = 600.0
    quota_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3_600,
            description="Interval in seconds at which the use of the clients' monthly quotas is"
            " counted.",
        ),
    ] = 5.0


class Settings(Struct, frozen=True):
    """All settings of the billing service."""

    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    billing: BillingSettings = field(default_factory=BillingSettings)
