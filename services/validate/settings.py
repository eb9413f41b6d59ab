"""The settings of validate."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.settings.sections import (
    KafkaSettings,
    RedisSettings,
    RuntimeSettings,
    TelemetrySettings,
)

# Domains whose mail is judged by one provider with one set of limits.
DEFAULT_LANES: dict[str, tuple[str, ...]] = {
    "gmail": ("gmail.com", "googlemail.com"),
    "microsoft": ("outlook.com", "hotmail.com", "live.com", "msn.com", "hotmail.de", "outlook.de"),
    "yahoo": ("yahoo.com", "yahoo.de", "aol.com", "ymail.com"),
}


class ValidateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The rules and the lanes."""

    max_message_bytes: Annotated[
        int,
        Meta(ge=1_000, le=10_000_000, description="Largest message that rule R1 lets pass."),
    ] = 307_200
    max_records: Annotated[
        int,
        Meta(ge=1, le=1_000, description="Most packs (of up to 64 messages) of one transaction."),
    ] = 24
    duplicate_window_h: Annotated[
        int,
        Meta(
            ge=0,
            le=840,
            description="For how many hours a submission is known again, so that one that is"
            " handed in twice is sent once. 0: never; two are two then.",
        ),
    ] = 48
    submissions_per_day: Annotated[
        int,
        Meta(
            ge=1_000,
            le=10_000_000_000,
            description="Submissions a day that the keys of that window are laid out for; with"
            " more they take more memory of Redis each. A change holds within 12 hours.",
        ),
    ] = 10_000_000
    lanes: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description="Recipient domains by lane; all others go by the lane `default`."),
    ] = msgspec.field(default_factory=DEFAULT_LANES.copy)


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything validate is told."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    validate: ValidateSettings = ValidateSettings()
