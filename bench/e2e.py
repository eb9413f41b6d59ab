"""`./sluice bench e2e` measures the whole pipeline on this machine, and compares it with Postfix.

The benchmark first measures the time from publishing the first message until the last message is at
the sink and counted by the billing service. Then the benchmark publishes at half of the measured
rate, and measures the time from publishing a message until the sink accepts the message. Finally
the benchmark measures Postfix with messages of the same number and size (postfix.py).

Both sides send to Postfix's smtp-sink, so that the cost of the receiver is the same. Only the
latency phase uses Sluice's sink, because Sluice's sink records when it accepted each message.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench import opendkim, postfix, smtp_sink
from bench.e2e_result import Latency, Peer, Result
from bench.measured import percentile
from bench.processes import Usage, cpu_us_per_message, read_all
from bench.publisher import Plan, Report
from bench.smtp_sink import PeerError, SmtpSink
from cli.stack import paths
from local.stack import Stack, StackOptions
from services.billing.core.cells import BILLED, decode_cell
from services.billing.edge.cells import RedisCells
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.read_cells import ALL_MONTHS
from shared.topics.names import intake

CLIENT: Final = "bench"
SENDING_DOMAIN: Final = "news.bench.example"
RECIPIENT_DOMAIN: Final = "r.example.net"
LATENCY_DOMAIN: Final = "latency.example.net"
# This many messages are sent first and not measured. Meanwhile the JVM of the broker compiles code,
# connections are opened, and views are filled.
WARM_UP: Final = 10_000
LATENCY_S: Final = 10.0
RUN_TIMEOUT_S: Final = 1_800.0
_POLL_S: Final = 0.05


class _Throughput(Struct, frozen=True):
    seconds: float
    cpu_us: dict[str, float]
    rss_mb: dict[str, float]


def measure(messages: int, size_bytes: int, *, with_peer: bool, dkim: bool) -> Result:
    """Run the whole benchmark, which takes minutes. Raises PeerError or PartNotStarted for a
    missing part."""
    name = f"bench-{os.getpid()}"
    folder = paths.run_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    try:
        with (
            smtp_sink.running(_reachable(folder)) as sink,
            _journal_sink(folder) as slow_sink,
            _line(name, folder, _deliver_env(folder, sink, slow_sink, dkim)) as stack,
        ):
            bench = _Bench(stack, sink, folder, size_bytes)
            bench.run(WARM_UP, "warm")
            whole = bench.run(messages, "whole")
            rate = messages / whole.seconds
            latency = bench.latency(rate / 2)
        peer = measure_peer(messages, size_bytes) if with_peer else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(
        messages=messages,
        size_bytes=size_bytes,
        dkim=dkim,
        seconds=round(whole.seconds, 2),
        messages_per_s=round(rate, 1),
        cpu_us_per_message=whole.cpu_us,
        cpu_us_total=round(sum(whole.cpu_us.values()), 1),
        latency_ms=latency,
        latency_at_per_s=round(rate / 2, 1),
        rss_mb=whole.rss_mb,
        peer=peer,
        ratio=round(rate / peer.messages_per_s, 2) if peer else None,
    )


def measure_peer(messages: int, size_bytes: int) -> Peer:
    """Measure Postfix with its queue on disk, then in RAM."""
    folders = {"disk": Path("/var/tmp"), "ram": Path("/dev/shm")}
    runs = []
    for queue, parent in folders.items():
        folder = parent / f"sluice-bench-{os.getpid()}"
        try:
            runs.append(postfix.measure(folder, queue, messages, size_bytes))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Peer(postfix.version(), runs[-1].messages_per_s, runs)


def _reachable(folder: Path) -> Path:
    made = folder / "sinks"
    made.mkdir(exist_ok=True)
    return made


def _deliver_env(folder: Path, sink: SmtpSink, slow_sink: str, dkim: bool) -> dict[str, str]:
    routes = {"*": sink.address, LATENCY_DOMAIN: slow_sink}
    # The key file is always set, so that the caller's environment has no effect on the signing.
    key = str(opendkim.write_key(folder / "dkim.pem")) if dkim else ""
    return {"SLUICE_DELIVER__ROUTES": json.dumps(routes), "SLUICE_DELIVER__DKIM_KEY_FILE": key}


@contextmanager
def _line(name: str, folder: Path, env: dict[str, str]) -> Iterator[Stack]:
    options = StackOptions(
        name=name, folder=folder, is_kafka_optimised=True, sink=False, restart=False, env=env
    )
    with Stack(options) as stack:
        client = Client(CLIENT, SENDING_DOMAIN, "back@bench.example.org", "bench-mailing")
        publish.apply(KafkaSettings(bootstrap=stack.endpoints.kafka), Changes(added=(client,)))
        yield stack


@contextmanager
def _journal_sink(folder: Path) -> Iterator[str]:
    """Run Sluice's sink with a journal, and yield its address."""
    state = folder / "sink.json"
    files = ("--journal", str(folder / "sink.jsonl"), "--state", str(state))
    command = (sys.executable, "-m", "local.sink", "--listen", "127.0.0.1:0", *files)
    process = subprocess.Popen(
        [*command, "--behaviour", "accept"],
        cwd=paths.ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield _wait_address(process, state)
    finally:
        process.terminate()
        process.wait(10)


def _wait_address(process: subprocess.Popen[bytes], state: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return str(json.loads(state.read_bytes())["address"])
        except (OSError, ValueError):
            time.sleep(_POLL_S)
    raise PeerError("local.sink did not start")


class _Bench:
    """Runs the phases of the benchmark on a running pipeline."""

    def __init__(self, stack: Stack, sink: SmtpSink, folder: Path, size_bytes: int) -> None:
        self._line = stack
        self._sink = sink
        self._folder = folder
        self._size_bytes = size_bytes
        self._cells = RedisCells(connect(RedisSettings(url=stack.endpoints.redis)))
        self._published = 0

    def run(self, messages: int, name: str) -> _Throughput:
        """Publish as fast as possible and wait until all messages are at the sink and counted."""
        already_at_sink = self._sink.count()
        pids = {**self._line.pids(), "sink": self._sink.process.pid}
        before = read_all(pids)
        with self._publisher(messages, name, RECIPIENT_DOMAIN) as publisher:
            self._sink.wait_for(already_at_sink + messages, RUN_TIMEOUT_S)
            self._published += messages
            self._wait_counted()
            ended_at = time.time()
            after = read_all(pids)
            report = _report(publisher)
        return _throughput(report, ended_at, messages, (before, after))

    def latency(self, rate_per_s: float) -> Latency:
        """Publish at a steady rate, and return the latency of the messages up to the sink."""
        messages = max(100, int(rate_per_s * LATENCY_S))
        with self._publisher(messages, "latency", LATENCY_DOMAIN, rate_per_s) as publisher:
            _report(publisher)
            self._published += messages
            self._wait_counted()
        sent = msgspec.json.decode((self._folder / "times.json").read_bytes(), type=list[float])
        taken: list[float] = []
        for row in (self._folder / "sink.jsonl").read_bytes().splitlines():
            found = msgspec.json.decode(row)
            if found["verdict"] == "accepted":
                number = int(found["rcpt"].partition("@")[0].rpartition("-")[2])
                taken.append((found["t"] - sent[number]) * 1000)
        if len(taken) < messages:
            raise PeerError(f"the sink recorded {len(taken)} of {messages} messages")
        taken.sort()
        return Latency(round(percentile(taken, 0.50), 1), round(percentile(taken, 0.99), 1))

    @contextmanager
    def _publisher(
        self, messages: int, run: str, domain: str, rate_per_s: float = 0.0
    ) -> Iterator[subprocess.Popen[bytes]]:
        plan = Plan(
            bootstrap=self._line.endpoints.kafka,
            topic=intake(CLIENT),
            sending_domain=SENDING_DOMAIN,
            recipient_domain=domain,
            messages=messages,
            size_bytes=self._size_bytes,
            rate_per_s=rate_per_s,
            run=run,
            times=str(self._folder / "times.json") if rate_per_s else "",
        )
        process = start_publisher(plan)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    def _wait_counted(self) -> None:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while (counted := self._counted()) < self._published:
            if time.monotonic() > deadline:
                raise PeerError(f"billing counted {counted} of {self._published}")
            time.sleep(_POLL_S)

    def _counted(self) -> int:
        months = self._cells.read(ALL_MONTHS).months
        return sum(
            count
            for month in months.values()
            for name, count in month.items()
            if decode_cell(name).counter == BILLED
        )


def start_publisher(plan: Plan) -> subprocess.Popen[bytes]:
    """Start a publisher process, which prints a report when it ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench.publisher", msgspec.json.encode(plan).decode()],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
    )


def _report(publisher: subprocess.Popen[bytes]) -> Report:
    out, _ = publisher.communicate(timeout=RUN_TIMEOUT_S)
    if publisher.returncode != 0:
        raise PeerError(f"the publisher ended with {publisher.returncode}")
    return msgspec.json.decode(out, type=Report)


def _throughput(
    report: Report,
    ended_at: float,
    messages: int,
    readings: tuple[dict[str, Usage], dict[str, Usage]],
) -> _Throughput:
    before, after = readings
    cpu_us = cpu_us_per_message(before, after, messages)
    cpu_us["publisher"] = round(report.cpu_s * 1e6 / messages, 1)
    rss_mb = {name: round(usage.rss_mb, 1) for name, usage in after.items()}
    rss_mb["publisher"] = round(report.rss_mb, 1)
    return _Throughput(ended_at - report.first_at, cpu_us, rss_mb)
