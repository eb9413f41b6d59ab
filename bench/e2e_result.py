"""The result of `./sluice bench e2e`, as JSON and as text."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from bench import postfix
from cli.terminal import PIPED_WIDTH, Column, Kind, lay_out

_PROCESSES: Final = (
    Column("process"),
    Column("CPU us per message", Kind.COUNT),
    Column("memory MB", Kind.COUNT),
)
_PEERS: Final = (
    Column("peer"),
    Column("messages/s", Kind.COUNT),
    Column("pipeline to peer", Kind.COUNT),
)
_QUEUES: Final = {"disk": "on disk", "ram": "in RAM"}


class Latency(Struct, frozen=True):
    """The times from publishing a message until the sink accepts the message, at half the rate, in
    ms."""

    p50: float
    p99: float


class Peer(Struct, frozen=True):
    """The rate of the peer with its queue in RAM, and all its runs."""

    name: str
    messages_per_s: float
    runs: list[postfix.PeerRun]


class Result(Struct, frozen=True):
    """The JSON of `bench e2e`."""

    messages: int
    size_bytes: int
    dkim: bool  # True if the pipeline signed the mail. The peer never signs.
    seconds: float
    messages_per_s: float
    cpu_us_per_message: dict[str, float]
    cpu_us_total: float
    latency_ms: Latency
    latency_at_per_s: float
    rss_mb: dict[str, float]
    peer: Peer | None
    ratio: float | None


def described(result: Result, width: int = PIPED_WIDTH) -> str:
    """Return the result as text, with tables that fit a terminal of this width."""
    latency = result.latency_ms
    lines = [
        f"{result.messages:,} messages of {result.size_bytes:,} bytes,"
        f" {'signed' if result.dkim else 'not signed'}, in {result.seconds} s:"
        f" {result.messages_per_s:,.0f} messages/s",
        f"from publishing to the sink, at {result.latency_at_per_s:,.0f} messages/s:"
        f" p50 {latency.p50} ms, p99 {latency.p99} ms",
        "",
        *process_lines(result, width),
    ]
    if result.peer:
        lines += ["", *peer_lines(result, result.peer, width)]
    return "\n".join(lines)


def process_lines(result: Result, width: int) -> list[str]:
    """Return the lines of the table of processes: CPU time and memory of each process and of
    all."""
    rows = [
        (name, f"{cpu_us:,.0f}", f"{result.rss_mb[name]:,.0f}" if name in result.rss_mb else "")
        for name, cpu_us in result.cpu_us_per_message.items()
    ]
    rows.append(("all", f"{result.cpu_us_total:,.0f}", f"{sum(result.rss_mb.values()):,.0f}"))
    return lay_out(_PROCESSES, rows, width)


def peer_lines(result: Result, peer: Peer, width: int) -> list[str]:
    """Return the lines of the table of peers, with the rate of each queue, and the pipeline's rate
    divided by this rate."""
    rows = [
        (
            f"{peer.name}, queue {_QUEUES.get(run.queue, run.queue)}",
            f"{run.messages_per_s:,.0f}",
            f"{result.messages_per_s / run.messages_per_s:.2f}",
        )
        for run in peer.runs
    ]
    return lay_out(_PEERS, rows, width)
