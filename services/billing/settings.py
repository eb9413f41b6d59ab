"""The settings of billing."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct, field

from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    RuntimeSettings,
    TelemetrySettings,
)


class BillingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Counting for the invoice, and the HTTP API for usage."""

    http_host: Annotated[
        str, Meta(min_length=1, description="Address on which the usage API listens.")
    ] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port for it; 0 picks a free one.")
    ] = 0
    group: Annotated[
        str, Meta(min_length=1, description="Kafka consumer group of the billing workers.")
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
            min_length=1,
            description="Time zone in which a month begins and ends, such as `Europe/Berlin`. Do"
            " not change it within a month; if you must, drop the counts (`billing rebuild`).",
        ),
    ] = "UTC"
    poll_records: Annotated[
        int, Meta(ge=1, le=100_000, description="Most records counted at a time.")
    ] = 10_000

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"time_zone: found {self.time_zone!r}, expected an IANA zone name"
            ) from None


class Settings(Struct, frozen=True):
    """All settings of billing."""

    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    billing: BillingSettings = field(default_factory=BillingSettings)
