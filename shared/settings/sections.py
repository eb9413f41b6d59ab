"""The settings sections that more than one service reads.

A service's root Struct holds these as fields beside its own section. Descriptions become
docs/settings.md (tools/docs.py).
"""

from __future__ import annotations

import socket
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs

# Every section that the one TOML file and the environment may hold. A service reads its own
# and leaves the others' alone; a section that is not named here is a mistake.
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
            description="Name of this process among those of its service; part of its"
            " transactional id, so no two may share it. Empty: the host name.",
        ),
    ] = ""
    processors: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=4_095)], ...],
        Meta(
            max_length=256,
            description="Numbers of the processors that this process runs on, as `taskset -c`"
            " counts them. Empty: any. Where several processes of a service share a host, one"
            " processor each is faster.",
        ),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        Meta(description="Log lines as `key=value` text or as one JSON object each."),
    ] = "text"
    drain_timeout_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long a stopping process may go on finishing what it holds.",
        ),
    ] = 45.0

    def __post_init__(self) -> None:
        if not self.instance:
            structs.force_setattr(self, "instance", socket.gethostname())


class KafkaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The brokers, and how topics are created on them."""

    bootstrap: Annotated[
        str,
        Meta(
            pattern=rf"^{_BROKER}(,{_BROKER})*\Z",
            extra={"expected": "host:port[,host:port]"},
            description="Brokers to begin with: `host:port[,host:port]`.",
        ),
    ] = "127.0.0.1:9092"
    compression: Annotated[
        Literal["lz4", "gzip", "none"],
        Meta(description="Compression of the record batches that are written."),
    ] = "lz4"
    static_membership: Annotated[
        bool,
        Meta(
            description="Whether a process restarted under its old `runtime.instance` takes its"
            " partitions over at once (KIP-345). For StatefulSets and supervisors, where that"
            " name lasts; not where every restart brings a new one."
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
            description="Topic configs in place of those planned: topic name, in which `*` stands"
            " for any text, to config and value, such as"
            ' `{"mail.intake.*": {"retention.ms": "2592000000"}}`. `./sluice topics plan` shows'
            " what differs, `topics apply` alters it."
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
            description="Redis key of the submissions seen lately, beginning with a {hash tag}."
            " Two installations that share a Redis database need two.",
            extra={"secret": False},
        ),
    ] = "{sluice:submissions}"


class TelemetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a process answers /live, /ready and /metrics."""

    http_host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    http_port: Annotated[
        int, Meta(ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    ] = 0
