"""The settings of validate."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.runtime.sections import KafkaSettings, RuntimeSettings, TelemetrySettings

# Domains whose mail is judged by one provider with one set of limits (DESIGN section 2).
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
    lanes: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description="Recipient domains by lane; all others go by the lane `default`."),
    ] = msgspec.field(default_factory=DEFAULT_LANES.copy)


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything validate is told."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    validate: ValidateSettings = ValidateSettings()
