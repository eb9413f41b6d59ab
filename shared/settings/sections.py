"""The settings sections that more than one service reads.

A service's root Struct holds these as fields beside its own section. Descriptions become
docs/settings.md (tools/docs.py).
"""

from __future__ import annotations

import socket
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs

# All sections that the TOML file and the environment may contain. A service reads its own
# and ignores the others; a section that is not listed here is a mistake.
SECTIONS: Final = (
    "runtime",
    "kafka",
    "redis",
    "telemetry",
    "ingest",
    "validate",
    "deliver",
    "billing",
)

_BROKER: Final = r"(\[[0-9a-fA-F:.]+\]|[^\s,:\[\]]+):[0-9]{1,5}"


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


class KafkaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The brokers and the creation of topics."""

    bootstrap: Annotated[
        str,
        Meta(
            pattern=rf"^{_BROKER}(,{_BROKER})*\Z",
            extra={"expected": "host:port[,host:port]"},
            description="Bootstrap brokers: `host:port[,host:port]`.",
        ),
    ] = "127.0.0.1:9092"
    compression: Annotated[
        Literal["lz4", "gzip", "none"],
        Meta(description="Compression of the record batches that are written."),
    ] = "lz4"
    static_membership: Annotated[
        bool,
        Meta(
            description="Whether a process restarted with its old `runtime.instance` takes over its"
            " partitions at once (KIP-345). For StatefulSets and supervisors that keep the name;"
            " not if every restart creates a new name."
        ),
    ] = False
    replication: Annotated[
        int, Meta(ge=1, le=9, description="Copies of each topic that is created.")
    ] = 1
    partitions: Annotated[
        int, Meta(ge=1, le=1000, description="Partitions of each internal topic created.")
    ] = 4
    intake_partitions: Annotated[
        int, Meta(ge=1, le=1000, description="Partitions of each intake topic created.")
    ] = 2
    topic_configs: Annotated[
        dict[str, dict[str, str]],
        Meta(
            description="Topic configs that replace the planned ones: topic name, in which `*`"
            " matches any text, to config and value, such as"
            ' `{"mail.intake.*": {"retention.ms": "2592000000"}}`. `./sluice topics plan` shows'
            " the differences, `topics apply` alters them."
        ),
    ] = {}


class RedisSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Redis or Valkey: derived state only."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(rediss?|unix)://.",
            extra={"expected": "a URL redis://, rediss:// or unix://"},
            description="`redis://[user:password@]host:port/database`, or `rediss://` for TLS.",
        ),
    ] = "redis://127.0.0.1:6379/0"
    submissions_key: Annotated[
        str,
        Meta(
            pattern=r"^\{[^{}]+\}[^{}]*\Z",
            description="Redis key of the recent submissions, beginning with a {hash tag}."
            " Two installations that share a Redis database need different keys.",
            extra={"secret": False},
        ),
    ] = "{sluice:submissions}"


class TelemetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP server of a process for /live, /ready and /metrics."""

    http_host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    ] = 0
