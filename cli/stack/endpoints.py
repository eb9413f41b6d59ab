"""The addresses of a pipeline that programs outside of it use."""

from __future__ import annotations

from msgspec import Struct

from shared.settings.secrets import masked


class Endpoints(Struct, frozen=True):
    """The address of each endpoint; None if the pipeline has none. `up --json` prints this."""

    kafka: str  # host:port, as bootstrap server
    redis: str  # redis://host:port/0
    smtp: str | None = None
    smtps: str | None = None
    bounce: str | None = None
    billing: str | None = None  # http://host:port
    api: str | None = None  # http://host:port, of `validate api`
    metrics: dict[str, str] = {}  # process -> http://host:port/metrics
    sink: str | None = None  # host:port
    ca_file: str | None = None  # SMTP clients have to trust it
    kafka_copies: int = 1  # of each topic: as many as there are embedded brokers


def described(endpoints: Endpoints) -> list[str]:
    """One line per endpoint, for people."""
    single = {
        "kafka": endpoints.kafka,
        "redis": masked("url", endpoints.redis),
        "smtp": endpoints.smtp,
        "smtps": endpoints.smtps,
        "bounce": endpoints.bounce,
        "billing": endpoints.billing,
        "api": endpoints.api,
        "sink": endpoints.sink,
        "CA file": endpoints.ca_file,
    }
    lines = [f"  {name:<9} {address}" for name, address in single.items() if address]
    return lines + [f"  {'metrics':<9} {url}  ({name})" for name, url in endpoints.metrics.items()]
