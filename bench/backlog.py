"""`python -m bench.backlog`: a large backlog for one provider with a limit, then mail for others.

Publishes --messages for one provider that is limited to --rate messages per second. As soon as
deliver has taken them all, publishes --others for another destination, and measures how long they
take. Both share the lane `default`. Then waits until all have arrived and counts how often each
body was written to Kafka between validate and the sink.

    python -m bench.backlog --messages 20000 --rate 200     about two minutes
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
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from kafka import KafkaConsumer, TopicPartition
from msgspec import Struct

from bench import smtp_sink
from bench.e2e import CLIENT, SENDING_DOMAIN, start_publisher
from bench.processes import read_usage
from bench.publisher import Plan
from bench.smtp_sink import PeerError, SmtpSink
from cli.stack import paths
from local.parts.unavailable import PartNotStarted
from local.stack import Stack, StackOptions
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.exits import Exit
from shared.settings.sections import KafkaSettings
from shared.topics.codec import decode_pack
from shared.topics.names import DELAYS_S, EVENTS, deferred, intake, outbound

LIMITED: Final = "limited.example.net"
FREE: Final = "free.example.net"
# Once by validate, and once more while it waits for its turn.
MOST_WRITTEN: Final = 2
_POLL_S: Final = 0.05
# Beyond the time that the limit itself takes.
_SPARE_S: Final = 600.0
_HELD: Final = re.compile(rb'^sluice_deliver_held_total\{[^}]*why="limit"[^}]*\} ([0-9.e+]+)', re.M)


class Result(Struct, frozen=True):
    """What was measured; `bodies_written`: how many messages by how often their body was."""

    messages: int
    rate_per_s: int
    others: int
    others_s: float
    drained_s: float
    fullest_10_s: int
    bodies_written: dict[int, int]
    # Why the bodies of the rest were written more than twice: the reasons of their last deferral.
    deferred_again: dict[str, int]
    deliver_rss_mb: dict[str, float]


class _Run:
    def __init__(self, stack: Stack, sinks: tuple[SmtpSink, SmtpSink]) -> None:
        self._stack = stack
        self.limited, self.free = sinks
        self._publishing = 0

    @contextmanager
    def publishing(self, domain: str, messages: int, size_bytes: int) -> Iterator[None]:
        """Publish in a process of its own."""
        self._publishing += 1
        plan = Plan(
            bootstrap=self._stack.endpoints.kafka,
            topic=intake(CLIENT),
            sending_domain=SENDING_DOMAIN,
            recipient_domain=domain,
            messages=messages,
            size_bytes=size_bytes,
            run=f"r{self._publishing}",
        )
        process = start_publisher(plan)
        try:
            yield
        finally:
            process.kill()
            process.wait(10)

    def held(self) -> int:
        """How many messages were deferred because of a limit."""
        with urllib.request.urlopen(self._stack.endpoints.metrics["deliver"], timeout=10) as page:
            found = _HELD.search(page.read())
        return int(float(found[1])) if found else 0

    def rss_mb(self) -> float:
        """The memory of deliver."""
        usage = read_usage(self._stack.pids()["deliver"])
        return round(usage.rss_mb, 1) if usage else 0.0

    def bodies_written(self) -> Counter[str]:
        """How often the body of each message was written between validate and the sink."""
        written: Counter[str] = Counter()
        for record in self._read([outbound("default"), *map(deferred, DELAYS_S)]):
            for message in decode_pack(record.value, record.headers):
                written[message.envelope.mail_id] += 1
        return written

    def deferred_again(self, mail_ids: Container[str]) -> dict[str, int]:
        """The reasons of the last deferral of these messages, each with their number."""
        reasons: dict[str, str] = {}
        for record in self._read([EVENTS]):
            headers = dict(record.headers)
            mail_id = headers.get("ce_subject", b"").decode()
            if headers.get("ce_type") == b"sluice.mail.deferred" and mail_id in mail_ids:
                reasons[mail_id] = json.loads(record.value).get("reason", "")
        return dict(Counter(reasons.values()).most_common(10))

    def _read(self, topics: Sequence[str]) -> Iterator[Any]:
        """All records of these topics."""
        consumer: Any = KafkaConsumer(
            bootstrap_servers=self._stack.endpoints.kafka, isolation_level="read_committed"
        )
        places = [
            TopicPartition(topic, number)
            for topic in topics
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        try:
            while any(consumer.position(place) < end for place, end in ends.items()):
                for records in consumer.poll(500).values():
                    yield from records
        finally:
            consumer.close()


def measure(messages: int, rate_per_s: int, others: int, size_bytes: int) -> Result:
    """Run everything. Raises PeerError or PartNotStarted."""
    name = f"backlog-{os.getpid()}"
    folder = paths.run_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    rules = folder / "shaping.toml"
    rules.write_text(f'[provider.big]\ndomains = ["{LIMITED}"]\nmessages = "{rate_per_s}/s"\n')
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
                run = _Run(stack, (limited, free))
                return _measured(run, messages, rate_per_s, others, size_bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(run: _Run, messages: int, rate_per_s: int, others: int, size_bytes: int) -> Result:
    give_up_at = time.monotonic() + messages / rate_per_s + _SPARE_S
    rss = {"before": run.rss_mb()}
    seen: list[tuple[float, int]] = []

    def look() -> None:
        seen.append((time.monotonic(), run.limited.count()))
        rss["peak"] = max(rss.get("peak", 0.0), run.rss_mb())
        if time.monotonic() > give_up_at:
            raise PeerError(f"{run.limited.count()} of {messages} messages arrived")
        time.sleep(_POLL_S)

    with run.publishing(LIMITED, messages, size_bytes):
        began_at = time.monotonic()
        while run.held() + run.limited.count() < messages:
            look()
        rss["backlog"] = run.rss_mb()
        with run.publishing(FREE, others, size_bytes):
            others_at = time.monotonic()
            while run.free.count() < others:
                look()
            others_s = time.monotonic() - others_at
        while run.limited.count() < messages:
            look()
    drained_s = time.monotonic() - began_at
    rss["after"] = run.rss_mb()
    written = run.bodies_written()
    again = {mail_id for mail_id, count in written.items() if count > MOST_WRITTEN}
    return Result(
        messages=messages,
        rate_per_s=rate_per_s,
        others=others,
        others_s=round(others_s, 2),
        drained_s=round(drained_s, 1),
        fullest_10_s=_fullest(seen, 10.0),
        bodies_written=dict(sorted(Counter(written.values()).items())),
        deferred_again=run.deferred_again(again),
        deliver_rss_mb=rss,
    )


def _fullest(seen: list[tuple[float, int]], window_s: float) -> int:
    """The most messages between two looks that are at most this far apart."""
    most = first = 0
    for at, count in seen:
        while seen[first][0] < at - window_s:
            first += 1
        most = max(most, count - seen[first][1])
    return most


def _made(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@click.command()
@click.option("--messages", default=200_000, show_default=True, type=click.IntRange(100))
@click.option("--rate", default=200, show_default=True, type=click.IntRange(1))
@click.option("--others", default=1_000, show_default=True, type=click.IntRange(1))
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(600, 307_200))
def main(messages: int, rate: int, others: int, size: int) -> None:
    """Print one JSON document."""
    try:
        result = measure(messages, rate, others, size)
    except (PeerError, PartNotStarted) as error:
        print(f"backlog: {error}", file=sys.stderr)
        sys.exit(Exit.PART_UNAVAILABLE)
    print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())


if __name__ == "__main__":
    main()
