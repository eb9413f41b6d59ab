"""`./sluice bench backlog` measures how a large backlog for one limited provider delays other mail.

The command publishes --messages of the given --sizes for one provider that is limited to --rate
messages per second. As soon as the deliver service has delivered or deferred all these messages,
the command publishes --others messages for another destination, and measures how long their
delivery takes. All messages share the lane `default`. Then the command waits for --stand seconds,
or until the backlog has been delivered (--drain). The command counts how often each body was
written to Kafka between the validate service and the sink. It also measures the memory of each
service.

The exit code is 1 if the delivery of the other messages took more than 5 s, if a body was written
more than twice, or if the memory of a service was too large or grew too much (backlog_result.py).

    ./sluice bench backlog --messages 20000 --stand 90     about three minutes
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from bench import smtp_sink
from bench.backlog_result import (
    MOST_WRITTEN,
    Result,
    bodies_written,
    deferred_again,
    fullest,
    memory_of,
)
from bench.e2e import CLIENT, SENDING_DOMAIN, start_publisher
from bench.measured import measured
from bench.processes import read_all
from bench.publisher import Plan
from bench.smtp_sink import PeerError, SmtpSink
from cli.stack import paths
from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.errors import Exit
from shared.settings.sections import KafkaSettings
from shared.topics.names import intake

LIMITED: Final = "limited.example.net"
FREE: Final = "free.example.net"
SERVICES: Final = ("ingest", "validate", "deliver", "billing")
_POLL_S: Final = 0.05
_MEMORY_EACH_S: Final = 1.0
_SIZE: Final = click.IntRange(600, 307_200)
# A run may take this many seconds longer than the messages need at the rate of the limit.
_SPARE_S: Final = 600.0
_HELD: Final = re.compile(rb'^sluice_deliver_held_total\{[^}]*why="limit"[^}]*\} ([0-9.e+]+)', re.M)


class Load(Struct, frozen=True):
    """The numbers of messages for the limited provider and for other sites, and the message
    sizes."""

    messages: int
    rate_per_s: int
    others: int
    sizes: tuple[int, int]
    stand_s: float
    drains: bool


class _Run:
    def __init__(self, stack: Stack, sinks: tuple[SmtpSink, SmtpSink]) -> None:
        self._stack = stack
        self.bootstrap = stack.endpoints.kafka
        self.limited, self.free = sinks
        self._publishing = 0

    @contextmanager
    def publishing(self, domain: str, messages: int, sizes: tuple[int, int]) -> Iterator[None]:
        """Publish messages for `domain` in a separate process until the context ends."""
        self._publishing += 1
        plan = Plan(
            bootstrap=self.bootstrap,
            topic=intake(CLIENT),
            sending_domain=SENDING_DOMAIN,
            recipient_domain=domain,
            messages=messages,
            least_bytes=sizes[0],
            size_bytes=sizes[1],
            run=f"r{self._publishing}",
        )
        process = start_publisher(plan)
        try:
            yield
        finally:
            process.kill()
            process.wait(10)

    def held(self) -> int:
        """Return the number of messages that were deferred because of a limit."""
        with urllib.request.urlopen(self._stack.endpoints.metrics["deliver"], timeout=10) as page:
            found = _HELD.search(page.read())
        return int(float(found[1])) if found else 0

    def rss_mb(self) -> dict[str, float]:
        """Return the resident memory of each service in MB."""
        pids = {name: pid for name, pid in self._stack.pids().items() if name in SERVICES}
        return {name: usage.rss_mb for name, usage in read_all(pids).items()}


def measure(load: Load) -> Result:
    """Run everything. Raises PeerError or PartNotStarted."""
    name = f"backlog-{os.getpid()}"
    folder = paths.run_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    rules = folder / "shaping.toml"
    rules.write_text(f'[provider.big]\ndomains = ["{LIMITED}"]\nmessages = "{load.rate_per_s}/s"\n')
    try:
        with (
            smtp_sink.running(_made(folder / "a")) as limited,
            smtp_sink.running(_made(folder / "b")) as free,
        ):
            env = {
                "SLUICE_DELIVER__ROUTES": json.dumps({"*": free.address, LIMITED: limited.address}),
                "SLUICE_DELIVER__SHAPING_FILE": str(rules),
            }
            options = StackOptions(name=name, folder=folder, sink=False, restart=False, env=env)
            with Stack(options) as stack:
                client = Client(CLIENT, SENDING_DOMAIN, "back@bench.example.org", "bench-mailing")
                kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
                publish.apply(kafka, Changes(added=(client,)))
                return _measured(_Run(stack, (limited, free)), load)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Looks:
    """The counts and the memory that were observed during a run, in order of time."""

    def __init__(self, run: _Run, longest_s: float) -> None:
        self._run = run
        self._give_up_at = time.monotonic() + longest_s
        self.seen: list[tuple[float, int]] = []
        self.memory: list[dict[str, float]] = []

    def look(self) -> None:
        """Record the counts and the memory, then wait a moment. Raises PeerError if the run takes
        too long."""
        now = time.monotonic()
        if not self.seen or now - self.seen[0][0] >= len(self.memory) * _MEMORY_EACH_S:
            self.memory.append(self._run.rss_mb())
        self.seen.append((now, self._run.limited.count()))
        if now > self._give_up_at:
            held = self._run.held()
            raise PeerError(f"{self.seen[-1][1]} messages arrived and {held} wait: too slow")
        time.sleep(_POLL_S)


def _measured(run: _Run, load: Load) -> Result:
    looks = _Looks(run, load.messages / load.rate_per_s + _SPARE_S)
    with run.publishing(LIMITED, load.messages, load.sizes):
        began_at = time.monotonic()
        while run.held() + run.limited.count() < load.messages:
            looks.look()
        stood_from, stands_at = len(looks.memory), time.monotonic()
        with run.publishing(FREE, load.others, load.sizes):
            while run.free.count() < load.others:
                looks.look()
            others_s = time.monotonic() - stands_at
        while time.monotonic() < stands_at + load.stand_s:
            looks.look()
        while load.drains and run.limited.count() < load.messages:
            looks.look()
    stood_s, delivered = time.monotonic() - stands_at, run.limited.count()
    written = bodies_written(run.bootstrap)
    again = {mail_id for mail_id, count in written.items() if count > MOST_WRITTEN}
    return Result(
        messages=load.messages,
        rate_per_s=load.rate_per_s,
        others=load.others,
        others_s=round(others_s, 2),
        taken_s=round(stands_at - began_at, 1),
        stood_s=round(stood_s, 1),
        delivered=delivered,
        fullest_10_s=fullest(looks.seen, 10.0),
        bodies_written=dict(sorted(Counter(written.values()).items())),
        deferred_again=deferred_again(run.bootstrap, again),
        memory=memory_of(looks.memory, stood_from),
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@click.command()
@click.option("--messages", default=200_000, show_default=True, type=click.IntRange(100))
@click.option("--rate", "rate_per_s", default=200, show_default=True, type=click.IntRange(1))
@click.option("--others", default=1_000, show_default=True, type=click.IntRange(1))
@click.option("--sizes", default=(600, 10_240), show_default=True, type=(_SIZE, _SIZE))
@click.option("--stand", "stand_s", default=180.0, show_default=True, type=click.FloatRange(1.0))
@click.option("--drain", "drains", is_flag=True, help="Wait until all messages have arrived.")
def main(**load: Any) -> None:
    """Measure the mail to other providers while one provider has a large backlog.

    Prints one JSON document.
    """
    result = measured(lambda: measure(Load(**load)))
    print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    faults = result.faults()
    for fault in faults:
        print(f"backlog: {fault}", file=sys.stderr)
    sys.exit(Exit.CHECK_FAILED if faults else Exit.OK)
