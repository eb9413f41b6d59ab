"""The doors of a line: the addresses that programs outside of it are given."""

from __future__ import annotations

from msgspec import Struct

from shared.settings.secrets import masked


class Endpoints(Struct, frozen=True):
    """Where each door is; None where a line has none. This is what `up --json` prints."""

    kafka: str  # host:port, as bootstrap server
    redis: str  # redis://host:port/0
    smtp: str | None = None
    smtps: str | None = None
    bounce: str | None = None
    billing: str | None = None  # http://host:port
    metrics: dict[str, str] = {}  # process -> http://host:port/metrics
    sink: str | None = None  # host:port
    ca_file: str | None = None  # what SMTP clients have to trust


def described(doors: Endpoints) -> list[str]:
    """One line for each door, for people."""
    single = {
        "kafka": doors.kafka,
        "redis": masked("url", doors.redis),
        "smtp": doors.smtp,
        "smtps": doors.smtps,
        "bounce": doors.bounce,
        "billing": doors.billing,
        "sink": doors.sink,
        "CA file": doors.ca_file,
    }
    lines = [f"  {name:<9} {address}" for name, address in single.items() if address]
    return lines + [f"  {'metrics':<9} {url}  ({name})" for name, url in doors.metrics.items()]
