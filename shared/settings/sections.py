"""Defines the sections of settings that more than one service reads.

The root Struct of a service has these sections as fields, in addition to the service's own section.
tools/docs.py writes the descriptions to docs/settings.md.
"""

from __future__ import annotations

import socket
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs

from shared.settings.addresses import PATH, host_fault
from shared.settings.kafka import KafkaSettings
from shared.settings.redis import RedisSettings

__all__ = [
    "SECTIONS",
    "KafkaSettings",
    "RedisSettings",
    "ReturnPathSettings",
    "RuntimeSettings",
    "TelemetrySettings",
]

# All sections that the TOML file and the environment may contain. A service reads its own sections
# and ignores the others; a section that is not listed here is a fault.
SECTIONS: Final = (
    "runtime",
    "kafka",
    "redis",
    "telemetry",
    "return_path",
    "ingest",
    "validate",
    "api",
    "deliver",
    "billing",
)


class RuntimeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The process itself."""

    instance: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._-]*\Z",
            max_length=128,
            extra={"expected": "at most 128 of the characters A-Z a-z 0-9 . _ -"},
            description="Name of this process, unique among the processes of its service, because"
            " it is part of the transactional id. Empty: the host name.",
        ),
    ] = ""
    processors: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=4_095)], ...],
        Meta(
            max_length=256,
            description="Numbers of the processors that this process runs on, as in `taskset -c`."
            " Empty: any. If several processes of a service share a host, one processor per"
            " process is faster.",
        ),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The lowest level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        Meta(description="Format of log lines: `key=value` text or one JSON object per line."),
    ] = "text"
    drain_timeout_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long a stopping process may continue to finish its work in progress.",
        ),
    ] = 45.0

    def __post_init__(self) -> None:
        if not self.instance:
            structs.force_setattr(self, "instance", socket.gethostname())


class TelemetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP server of a process for /live, /ready and /metrics."""

    http_host: Annotated[
        str,
        Meta(
            extra={"expected": "a host name or IP address", "check": host_fault},
            description="Address to listen on.",
        ),
    ] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    ] = 0


class ReturnPathSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The return path of outgoing messages, to which bounces come back."""

    keys_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="File of the keys that sign return paths, reloaded on change: per line a"
            " number from 0 to 255, the day from which the key signs (2026-12-01), and the secret"
            " as 32 or more hexadecimal digits. Empty: the envelope sender is the From address.",
        ),
    ] = ""
    days_valid: Annotated[
        int,
        Meta(
            ge=1,
            le=3_650,
            description="Days after the submission for which mail to a return path is accepted.",
        ),
    ] = 60
