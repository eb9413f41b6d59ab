"""The servers that the front door's benchmark compares, and its two load generators.

Owns: the servers (a pipeline that has only the ingest service, the open front door, aiosmtpd,
smtp-sink), the load generators (smtp_load.py, Postfix's smtp-source), and the measurement of the
CPU time. Does not own: the choice of the compared pairs, and the conclusions (front_door.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, cast

import msgspec
from msgspec import Struct

from bench import smtp_sink
from bench.processes import cpu_us_per_message, read_all
from bench.smtp_load import Plan, Report
from bench.smtp_sink import PeerError, program
from cli.stack import paths
from local.parts import credentials, ports
from local.parts.services import ServicePlan, is_ready, service_process
from local.process import Process
from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.credentials import make_credential
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings

CLIENT: Final = "bench"
SENDING_DOMAIN: Final = "news.bench.example"
RECIPIENT_DOMAIN: Final = "r.example.net"
_PASSWORD: Final = "a-password-for-the-bench"
# These limits are high, because one client on one machine represents many clients.
_LIMITS: Final = {
    "SLUICE_INGEST__SMTP_MAX_CONNECTIONS_PER_CLIENT": "10000",
    "SLUICE_INGEST__SMTP_NEW_CONNECTIONS_PER_MINUTE": "0",
    "SLUICE_INGEST__SMTP_MAX_BEFORE_LOGIN_PER_ADDRESS": "10000",
    "SLUICE_INGEST__SMTP_BEFORE_LOGIN_PERCENT": "100",
}
_RUN_TIMEOUT_S: Final = 600.0
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05


class Server(Struct, frozen=True):
    """A server that accepts mail at `address`. `pids` are the processes whose cost is reported."""

    address: str
    pids: dict[str, int]


class Servers(Struct, frozen=True):
    """All servers that are compared."""

    door: Server
    doors: Server
    open_doors: Server
    aiosmtpd: Server
    aiosmtpd_uvloop: Server
    aiosmtpd_tls: Server
    sink: Server


class Run(Struct, frozen=True):
    """One measurement. `p50_ms` and `p99_ms` are percentiles of the latency from the end of the
    content to the reply 250. They are None for smtp-source."""

    messages_per_s: float
    cpu_us: dict[str, float]
    load_cpu_us: float
    p50_ms: float | None
    p99_ms: float | None


@contextmanager
def running(name: str, folder: Path, kafka: str, redis: str, doors: int) -> Iterator[Servers]:
    """Start all servers and yield them. Kafka and Redis are started only if no address is given.

    In the rows with several front doors, `doors` front doors share a port. Raises PartNotStarted or
    PeerError if a part does not start.
    """
    options = StackOptions(
        name=name,
        folder=folder,
        kafka=kafka,
        redis=redis,
        is_kafka_optimised=True,
        services=("ingest",),
        sink=False,
        restart=False,
        env=_LIMITS,
    )
    with Stack(options) as stack:
        register(stack.endpoints.kafka)
        door = Server(str(stack.endpoints.smtp), stack.pids())
        with (
            _doors(stack, folder, doors, "services.ingest") as several,
            _doors(stack, folder, doors, "bench.front_door_open") as open_doors,
            _aiosmtpd() as aiosmtpd,
            _aiosmtpd("--uvloop") as on_uvloop,
            _aiosmtpd("--tls", *_certificate(folder)) as with_tls,
            smtp_sink.running(folder) as sink,
        ):
            own = Server(sink.address, {"smtp-sink": sink.process.pid})
            yield Servers(door, several, open_doors, aiosmtpd, on_uvloop, with_tls, own)


def register(bootstrap: str) -> None:
    """Register the client of the benchmark with a password, so that it can log in."""
    credential = make_credential(_PASSWORD, int(time.time() * 1000))
    client = Client(
        CLIENT,
        SENDING_DOMAIN,
        "back@bench.example.org",
        "bench-mailing",
        credentials=(credential,),
    )
    publish.apply(KafkaSettings(bootstrap=bootstrap), Changes(added=(client,)))


def plan_for(server: Server, load: Plan, *, login: bool) -> Plan:
    """Return the plan of `load` for this server. If `login` is set, the plan has a login over
    TLS."""
    secret = (CLIENT, _PASSWORD) if login else ("", "")
    return msgspec.structs.replace(load, address=server.address, user=secret[0], password=secret[1])


def run_load(server: Server, plan: Plan) -> Run:
    """Run smtp_load.py with this plan. The time of connecting and of logging in is not measured."""
    with _load_process(plan) as process:
        _expect_ready(process, "smtp_load")
        before = read_all(server.pids)
        out, _ = process.communicate(b"go\n", timeout=_RUN_TIMEOUT_S)
        after = read_all(server.pids)
        if process.returncode != 0:
            raise PeerError(f"smtp_load at {server.address} ended with {process.returncode}")
    report = msgspec.json.decode(out.splitlines()[-1], type=Report)
    return Run(
        round(plan.messages / report.seconds, 1),
        cpu_us_per_message(before, after, plan.messages),
        round(report.cpu_s * 1e6 / plan.messages, 1),
        report.p50_ms,
        report.p99_ms,
    )


@contextmanager
def _load_process(plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    command = (sys.executable, "-m", "bench.smtp_load", msgspec.json.encode(plan).decode())
    process = subprocess.Popen(
        command, cwd=paths.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def run_smtp_source(server: Server, plan: Plan) -> Run:
    """Run Postfix's smtp-source with the same load. smtp-source writes unique Message-IDs."""
    command = (
        *(program("smtp-source"), "-d", "-s", str(plan.sessions), "-m", str(plan.messages)),
        *("-l", str(plan.size_bytes), "-M", SENDING_DOMAIN, "-S", "The news of today"),
        *("-f", f"news@{SENDING_DOMAIN}", "-t", f"ok@{RECIPIENT_DOMAIN}"),
    )
    before, used = read_all(server.pids), os.times()
    started = time.perf_counter()
    done = subprocess.run(
        [*command, server.address], capture_output=True, timeout=_RUN_TIMEOUT_S, check=False
    )
    seconds, after, now = time.perf_counter() - started, read_all(server.pids), os.times()
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise PeerError(f"smtp-source at {server.address}: {said}")
    load_s = now.children_user + now.children_system - used.children_user - used.children_system
    return Run(
        round(plan.messages / seconds, 1),
        cpu_us_per_message(before, after, plan.messages),
        round(load_s * 1e6 / plan.messages, 1),
        None,
        None,
    )


@contextmanager
def _doors(stack: Stack, folder: Path, count: int, module: str) -> Iterator[Server]:
    """Run front doors on one port, with the broker, Redis and certificate of the pipeline."""
    port, *http_ports = ports.free_ports(count + 1)
    cert, key = _certificate(folder)
    env = {
        "SLUICE_BENCH_CLIENT": CLIENT,
        **_LIMITS,
        "SLUICE_KAFKA__BOOTSTRAP": stack.endpoints.kafka,
        "SLUICE_REDIS__URL": stack.endpoints.redis,
        "SLUICE_INGEST__SMTP_LISTEN": json.dumps([f"{ports.LOOPBACK}:{port}"]),
        "SLUICE_INGEST__SMTP_SHARED_PORTS": "true",
        "SLUICE_INGEST__SMTP_HOST_NAME": credentials.HOST,
        "SLUICE_INGEST__TLS_CERTIFICATE_FILE": cert,
        "SLUICE_INGEST__TLS_KEY_FILE": key,
    }
    with ExitStack() as running:
        pids: dict[str, int] = {}
        for number, http_port in enumerate(http_ports, 1):
            name = f"{module.rpartition('.')[2]}-{number}"
            own = {
                "SLUICE_RUNTIME__INSTANCE": f"{name}-{port}",
                "SLUICE_RUNTIME__PROCESSORS": json.dumps(_processor_of(number, count)),
            }
            spec = service_process(ServicePlan(name, http_port, {**env, **own}))
            spec = msgspec.structs.replace(spec, command=(sys.executable, "-m", module, "serve"))
            process = Process(spec, folder / f"{name}.log")
            running.callback(process.end, _STOP_TIMEOUT_S)
            _wait_ready(process, http_port)
            pids[f"ingest {number}"] = process.pid
        yield Server(f"{ports.LOOPBACK}:{port}", {**_without_ingest(stack), **pids})


def _processor_of(number: int, count: int) -> list[int]:
    """Return the processor of process `number`, or [] (any processor) for a single process."""
    if count == 1 or not hasattr(os, "sched_getaffinity"):
        return []
    allowed = sorted(os.sched_getaffinity(0))
    return [allowed[number % len(allowed)]]


def _without_ingest(stack: Stack) -> dict[str, int]:
    return {name: pid for name, pid in stack.pids().items() if name != "ingest"}


def _certificate(folder: Path) -> tuple[str, str]:
    """Return the certificate of the pipeline, and its key."""
    files = credentials.make_certificate(folder)
    return str(files.certificate), str(files.key)


def _wait_ready(process: Process, http_port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not is_ready(http_port):
        if time.monotonic() > deadline or not process.runs:
            raise PeerError(f"a front door did not start:\n{process.log_tail()}")
        time.sleep(_POLL_S)


@contextmanager
def _aiosmtpd(*options: str) -> Iterator[Server]:
    address = f"{ports.LOOPBACK}:{smtp_sink.free_port()}"
    command = (sys.executable, "-m", "bench.front_door_peer", address, *options)
    process = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE)
    try:
        _expect_ready(process, "aiosmtpd")
        yield Server(address, {"aiosmtpd": process.pid})
    finally:
        process.terminate()
        process.wait(10)


def _expect_ready(process: subprocess.Popen[bytes], name: str) -> None:
    if cast(IO[bytes], process.stdout).readline() != b"ready\n":
        raise PeerError(f"{name} did not start")
