"""The settings of ingest."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from shared.runtime.sections import KafkaSettings, RuntimeSettings, TelemetrySettings


class IngestSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Reading the intakes."""

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


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything ingest is told."""

    runtime: RuntimeSettings = RuntimeSettings()
    kafka: KafkaSettings = KafkaSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    ingest: IngestSettings = IngestSettings()
