"""`./sluice bench front-door` compares the throughput of the SMTP front door with its peers.

One load client (smtp_load.py) sends mail to each server. The servers are the front door of the
ingest service with TLS and login, the same door without TLS and login (front_door_open.py),
aiosmtpd with a handler that does nothing, and Postfix's smtp-sink. In addition, Postfix's
smtp-source sends mail to the servers in plain SMTP. The requirements for plain SMTP use only the
rows with smtp-source. A message is counted when the reply 250 to its content arrives. A 250 of the
front door means that Kafka has acknowledged the message. All rows are measured in turn, `repeats`
times, and the medians are reported. The reasons for this setup are in
docs/decisions/0024-front-door-bench.md.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from bench import front_door_parts as parts
from bench.front_door_parts import Run, Server, Servers
from bench.front_door_result import (
    AIOSMTPD,
    AIOSMTPD_TLS,
    AIOSMTPD_UVLOOP,
    DOOR,
    DOORS,
    OPEN,
    OPEN_TLS,
    OWN,
    ROWS,
    SINK,
    Idle,
    Latency,
    Result,
    Row,
    bars_of,
    ratios_of,
)
from bench.processes import read_usage
from bench.smtp_load import Plan, Talk, connect_all
from bench.smtp_sink import PeerError, program
from cli.stack import paths
from shared.runtime.machine import allow_open_files

# Slow servers get this share of the messages, so that all rows take about the same time.
_PEER_SHARE: Final = 0.25
# The limit on open files. It allows the sockets of the idle connections on both sides, and a
# reserve.
_OPEN_FILES: Final = 20_000
# The memory is read after this time, because one of the next two sweeps frees the garbage of the
# TLS handshakes.
_SETTLE_S: Final = 1.0

_SLOW: Final = frozenset({AIOSMTPD, AIOSMTPD_UVLOOP, AIOSMTPD_TLS})
_WITH_LOGIN: Final = frozenset({DOOR, DOORS, OPEN_TLS, AIOSMTPD_TLS})


class Options(Struct, frozen=True):
    """The load, the number of `idle` connections, and the addresses of Kafka and Redis. If an
    address is "", the server is started. Each row first sends a share of the messages that is not
    counted, because the JVM is still compiling then.
    """

    messages: int
    size_bytes: int
    sessions: int
    repeats: int
    idle: int
    doors: int
    kafka: str = ""
    redis: str = ""
    warm_up_share: float = 1.0


class _Case(Struct, frozen=True):
    server_name: str
    load: str
    server: Server


def measure(options: Options) -> Result:
    """Run the whole benchmark, which takes minutes. Raises PeerError or PartNotStarted for a
    missing part."""
    for name in ("smtp-source", "smtp-sink"):
        program(name)
    allow_open_files(_OPEN_FILES)
    name = f"bench-door-{os.getpid()}"
    folder = paths.run_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    try:
        with parts.running(name, folder, options.kafka, options.redis, options.doors) as servers:
            idle = _hold_idle(servers.door, options) if options.idle else None
            rows = _measure_rows(_cases(servers), options)
            rate = round(rows[0].messages_per_s / 2, 1)
            latency = _latency(servers.door, options, rate)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = ratios_of(rows)
    return Result(
        messages=options.messages,
        size_bytes=options.size_bytes,
        sessions=options.sessions,
        doors=options.doors,
        rows=rows,
        ratios=ratios,
        latency_ms=latency,
        idle=idle,
        bars=bars_of(ratios, idle),
    )


def _cases(servers: Servers) -> list[_Case]:
    by_name = {
        DOOR: servers.door,
        DOORS: servers.doors,
        OPEN_TLS: servers.open_doors,
        OPEN: servers.open_doors,
        AIOSMTPD: servers.aiosmtpd,
        AIOSMTPD_UVLOOP: servers.aiosmtpd_uvloop,
        AIOSMTPD_TLS: servers.aiosmtpd_tls,
        SINK: servers.sink,
    }
    return [_Case(name, load, by_name[name]) for name, load in ROWS]


def _measure_rows(cases: Sequence[_Case], options: Options) -> list[Row]:
    for case in cases if options.warm_up_share else ():
        _run(case, options, "warm", options.warm_up_share)
    runs = [[_run(case, options, f"r{n}") for case in cases] for n in range(options.repeats)]
    return [_row(case, taken) for case, taken in zip(cases, zip(*runs, strict=True), strict=True)]


def _run(case: _Case, options: Options, run: str, share: float = 1.0) -> Run:
    of_peer = _PEER_SHARE if case.server_name in _SLOW else 1.0
    plan = _plan(options, run, share * of_peer)
    plan = parts.plan_for(case.server, plan, login=case.server_name in _WITH_LOGIN)
    measured = parts.run_load if case.load == OWN else parts.run_smtp_source
    return measured(case.server, plan)


def _plan(options: Options, run: str, share: float = 1.0) -> Plan:
    return Plan(
        address="",
        sending_domain=parts.SENDING_DOMAIN,
        recipient_domain=parts.RECIPIENT_DOMAIN,
        sessions=options.sessions,
        messages=max(options.sessions, int(options.messages * share)),
        size_bytes=options.size_bytes,
        # Each run has a unique name, because messages with the Message-IDs of another run would be
        # duplicates.
        run=f"{run}.{time.time_ns():x}",
        talk=Talk.GROUP,
    )


def _row(case: _Case, runs: Sequence[Run]) -> Row:
    return Row(
        server=case.server_name,
        load=case.load,
        messages_per_s=_median(runs, lambda run: run.messages_per_s),
        rates=[run.messages_per_s for run in runs],
        cpu_us={name: _median(runs, _reading(name)) for name in case.server.pids},
        load_cpu_us=_median(runs, lambda run: run.load_cpu_us),
        p50_ms=_median(runs, lambda run: run.p50_ms or 0.0) if case.load == OWN else None,
        p99_ms=_median(runs, lambda run: run.p99_ms or 0.0) if case.load == OWN else None,
    )


def _reading(name: str) -> Callable[[Run], float]:
    return lambda run: run.cpu_us[name]


def _median(runs: Sequence[Run], read: Callable[[Run], float]) -> float:
    return round(statistics.median(read(run) for run in runs), 2)


def _latency(door: Server, options: Options, rate_per_s: float) -> Latency:
    plan = replace(_plan(options, "half", 0.5), rate_per_s=rate_per_s)
    run = parts.run_load(door, parts.plan_for(door, plan, login=True))
    return Latency(rate_per_s, run.p50_ms or 0.0, run.p99_ms or 0.0)


def _hold_idle(door: Server, options: Options) -> Idle:
    """Open `options.idle` connections, log in on each of them, and read the memory of the ingest
    service while all these connections are idle."""
    plan = parts.plan_for(door, _plan(options, "idle"), login=True)
    # Send some messages first, because the first logins and messages allocate memory that does not
    # depend on the number of connections.
    parts.run_load(door, replace(plan, messages=max(options.sessions, 500)))
    before_mb = _rss_mb(door)
    held = connect_all(plan, options.idle)
    try:
        time.sleep(_SETTLE_S)
        with_mb = _rss_mb(door)
    finally:
        for sock in held:
            sock.close()
    kb_each = round((with_mb - before_mb) * 1024 / options.idle, 1)
    return Idle(options.idle, before_mb, with_mb, kb_each)


def _rss_mb(door: Server) -> float:
    usage = read_usage(door.pids["ingest"])
    if usage is None:
        raise PeerError("ingest has ended")
    return round(usage.rss_mb, 1)
