"""The result of the front door's benchmark: rows, ratios, requirements, a table.

Owns: everything that is derived from the figures. Does not own: the measuring (front_door.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from cli.terminal import PIPED_WIDTH, Column, Kind, lay_out

DOOR: Final = "front door, TLS and login"
DOORS: Final = "front doors, TLS and login"
OPEN_TLS: Final = "open doors, TLS and login"
OPEN: Final = "open doors, plain"
AIOSMTPD: Final = "aiosmtpd, no-op"
AIOSMTPD_UVLOOP: Final = "aiosmtpd, no-op, uvloop"
AIOSMTPD_TLS: Final = "aiosmtpd, no-op, TLS"
SINK: Final = "smtp-sink"
OWN: Final = "own client"
SOURCE: Final = "smtp-source"
# The rows in the order of measurement. Each row has a server and a load generator.
ROWS: Final = [
    (DOOR, OWN),
    (DOORS, OWN),
    (OPEN_TLS, OWN),
    (OPEN, OWN),
    (AIOSMTPD, OWN),
    (AIOSMTPD_UVLOOP, OWN),
    (AIOSMTPD_TLS, OWN),
    (SINK, OWN),
    (OPEN, SOURCE),
    (AIOSMTPD, SOURCE),
    (SINK, SOURCE),
]

LEAST_TO_AIOSMTPD: Final = 4.0
LEAST_TO_SMTP_SINK: Final = 0.6
LEAST_TLS_TO_PLAIN: Final = 0.6
# With BAR_CONNECTIONS idle connections, the ingest service may use at most MOST_IDLE_MB.
BAR_CONNECTIONS: Final = 2_000
MOST_IDLE_MB: Final = 150.0


_COLUMNS: Final = (
    Column("server"),
    Column("load"),
    Column("messages/s", Kind.COUNT),
    Column("p50 ms", Kind.COUNT),
    Column("p99 ms", Kind.COUNT),
    Column("CPU us", Kind.TEXT),
)


class Row(Struct, frozen=True):
    """The medians of one server under one load, and the rate of each run."""

    server: str
    load: str
    messages_per_s: float
    rates: list[float]
    cpu_us: dict[str, float]
    load_cpu_us: float
    p50_ms: float | None
    p99_ms: float | None


class Ratios(Struct, frozen=True):
    """The rates of the front doors, divided by the rate of a peer in the same run."""

    # Required. The open doors and aiosmtpd are in plain text, with load by smtp-source.
    to_aiosmtpd_smtp_source: float
    # The doors have TLS and login, and aiosmtpd is in plain text. Our client sends to both.
    to_aiosmtpd: float
    one_to_aiosmtpd: float  # Like `to_aiosmtpd`, but there is only one front door.
    to_aiosmtpd_uvloop: float  # Like `to_aiosmtpd`, but aiosmtpd runs on uvloop.
    to_aiosmtpd_tls: float  # Like `to_aiosmtpd`, but aiosmtpd also has TLS and login.
    # The doors have TLS and login. Our client sends to the doors, and smtp-source to smtp-sink.
    to_smtp_sink: float
    to_smtp_sink_own_client: float  # Like `to_smtp_sink`, but our client sends to smtp-sink, too.
    # Required. The open doors are in plain text, and smtp-source sends to both.
    to_smtp_sink_smtp_source: float
    # Required. The rate of the open doors with TLS and login, divided by their rate in plain text.
    tls_to_plain: float


class Latency(Struct, frozen=True):
    """The time from the end of the content to the reply 250, at half the rate, in milliseconds."""

    at_per_s: float
    p50: float
    p99: float


class Idle(Struct, frozen=True):
    """The resident memory of the ingest service before idle connections were opened and while they
    were open. All of them are logged in over TLS."""

    connections: int
    before_mb: float
    with_mb: float
    kb_each: float


class Bar(Struct, frozen=True):
    """One requirement: the measured value, the required value, and True if the requirement is
    met."""

    name: str
    found: float
    wanted: float
    holds: bool


class Result(Struct, frozen=True):
    """The JSON of `bench front-door`."""

    messages: int
    size_bytes: int
    sessions: int
    doors: int
    rows: list[Row]
    ratios: Ratios
    latency_ms: Latency
    idle: Idle | None
    bars: list[Bar]


def ratios_of(rows: Sequence[Row]) -> Ratios:
    rate = {(row.server, row.load): row.messages_per_s for row in rows}
    door = rate[DOORS, OWN]
    return Ratios(
        to_aiosmtpd_smtp_source=round(rate[OPEN, SOURCE] / rate[AIOSMTPD, SOURCE], 2),
        to_aiosmtpd=round(door / rate[AIOSMTPD, OWN], 2),
        one_to_aiosmtpd=round(rate[DOOR, OWN] / rate[AIOSMTPD, OWN], 2),
        to_aiosmtpd_uvloop=round(door / rate[AIOSMTPD_UVLOOP, OWN], 2),
        to_aiosmtpd_tls=round(door / rate[AIOSMTPD_TLS, OWN], 2),
        to_smtp_sink=round(door / rate[SINK, SOURCE], 2),
        to_smtp_sink_own_client=round(door / rate[SINK, OWN], 2),
        to_smtp_sink_smtp_source=round(rate[OPEN, SOURCE] / rate[SINK, SOURCE], 2),
        tls_to_plain=round(rate[OPEN_TLS, OWN] / rate[OPEN, OWN], 2),
    )


def bars_of(ratios: Ratios, idle: Idle | None) -> list[Bar]:
    """Return the requirements. The memory is a requirement only if enough idle connections were
    open."""
    wanted = (
        ("doors to aiosmtpd", ratios.to_aiosmtpd_smtp_source, LEAST_TO_AIOSMTPD),
        ("doors to smtp-sink", ratios.to_smtp_sink_smtp_source, LEAST_TO_SMTP_SINK),
        ("TLS to plain", ratios.tls_to_plain, LEAST_TLS_TO_PLAIN),
    )
    bars = [Bar(name, found, least, found >= least) for name, found, least in wanted]
    if idle is not None and idle.connections >= BAR_CONNECTIONS:
        name = "MB with idle connections, at most"
        bars.append(Bar(name, idle.with_mb, MOST_IDLE_MB, idle.with_mb <= MOST_IDLE_MB))
    return bars


def described(result: Result, width: int = PIPED_WIDTH) -> str:
    """Return the result as text, with a table that fits a terminal of this width."""
    lines = [
        f"{result.messages} messages of {result.size_bytes} bytes over {result.sessions} sessions;"
        f" several doors are {result.doors} processes",
        "",
        *table_lines(result.rows, width),
        "",
    ]
    ratios, latency = result.ratios, result.latency_ms
    lines += [
        f"smtp-source for both, in plain: doors to aiosmtpd {ratios.to_aiosmtpd_smtp_source}, to"
        f" smtp-sink {ratios.to_smtp_sink_smtp_source}",
        f"with TLS and login, own client: doors to aiosmtpd in plain {ratios.to_aiosmtpd}"
        f" (one alone {ratios.one_to_aiosmtpd}), on uvloop {ratios.to_aiosmtpd_uvloop},"
        f" with TLS and login {ratios.to_aiosmtpd_tls}",
        f"to smtp-sink in plain {ratios.to_smtp_sink_own_client}, to the same under smtp-source"
        f" {ratios.to_smtp_sink}",
        f"TLS to plain {ratios.tls_to_plain}",
        f"at {latency.at_per_s:.0f}/s from the end of DATA to 250:"
        f" p50 {latency.p50} ms, p99 {latency.p99} ms",
    ]
    if (idle := result.idle) is not None:
        lines.append(
            f"{idle.connections} idle connections: ingest {idle.before_mb} MB before,"
            f" {idle.with_mb} MB with them, {idle.kb_each} KB each"
        )
    lines += [
        f"{bar.name}: {bar.found}, required {bar.wanted}: {'holds' if bar.holds else 'NOT MET'}"
        for bar in result.bars
    ]
    return "\n".join(lines)


def table_lines(rows: Sequence[Row], width: int) -> list[str]:
    return lay_out(_COLUMNS, list(map(_described_row, rows)), width)


def _described_row(row: Row) -> tuple[str, ...]:
    p50 = "" if row.p50_ms is None else f"{row.p50_ms:.1f}"
    p99 = "" if row.p99_ms is None else f"{row.p99_ms:.1f}"
    cpu = ", ".join(
        f"{name} {us:.0f}" for name, us in {**row.cpu_us, "load": row.load_cpu_us}.items()
    )
    return row.server, row.load, f"{row.messages_per_s:.0f}", p50, p99, cpu
