"""`./sluice bench bad-sites SITE` measures the delivery of good mail beside a faulty site.

The benchmark publishes mail for 20 good domains at a steady rate, in the form in which the validate
service publishes mail. One process of the deliver service, with its own broker, delivers this mail.
In the first phase there is only good mail. In the second phase a tenth of all messages is for one
bad site (bad_servers.py), and half of the messages for the bad site have 300 KB. The latency of a
message is the time from publishing the message to reading its event. The exit code is 1 if the 99th
percentile of the latency of good mail in the second phase is more than 1.3 times the 99th
percentile in the first phase. The exit code is also 1 if a good message was not delivered, or if
the deliver service uses more than 512 MB.

    ./sluice bench bad-sites tarpit --rate 100 --seconds 40     about two minutes
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import msgspec
from kafka import KafkaConsumer, KafkaProducer
from msgspec import Struct

from bench.bad_servers import SERVERS
from bench.measured import measured, percentile
from bench.processes import read_usage
from cli.stack import paths
from local.stack import Stack, StackOptions
from shared.topics import ids, names
from shared.topics.codec import decode_event, encode_pack
from shared.topics.records import Envelope, Event, EventType, Facts, Message, Origin

SENDER: Final = "news@news.bench.example"
LANE: Final = "default"
_LINE: Final = b"x" * 70 + b"\r\n"
_FETCH_MS: Final = 20
_POLL_MS: Final = 100
MOST_RATIO: Final = 1.3
MOST_MB: Final = 512.0
LARGE_BYTES: Final = 307_200
SMALL_BYTES: Final = 10_240
_GOOD_DOMAINS: Final = 20
# The number of good messages per bad message.
_GOOD_PER_BAD: Final = 9
_WARM_UP_S: Final = 5.0
_SETTLE_S: Final = 60.0
_LOOK_S: Final = 0.1


class Phase(Struct, frozen=True):
    """The figures of the good mail in one phase: messages published, messages delivered,
    latency."""

    messages: int
    delivered: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


class Result(Struct, frozen=True):
    """The figures of both phases, the ratio of their 99th percentiles, and the peak memory of the
    deliver service."""

    site: str
    alone: Phase
    beside: Phase
    ratio: float
    peak_mb: float

    @property
    def holds(self) -> bool:
        """Return True if all requirements are met."""
        is_complete = self.beside.delivered == self.beside.messages
        return is_complete and self.ratio <= MOST_RATIO and self.peak_mb <= MOST_MB


def make_message(recipient: str, size_bytes: int) -> Message:
    """Return a message of about this size."""
    now_ms = time.time_ns() // 1_000_000
    mail_id = ids.time_letters(now_ms) + ids.random_part(os.urandom(16))
    message_id = f"<{mail_id}@news.bench.example>"
    head = f"From: {SENDER}\r\nTo: {recipient}\r\nSubject: x\r\nMessage-ID: {message_id}\r\n\r\n"
    envelope = Envelope(
        mail_id=mail_id,
        client="bench",
        sender=SENDER,
        recipient=recipient,
        message_id=message_id,
        received_at_ms=now_ms,
        origin=Origin(),
        facts=Facts(size_bytes=size_bytes),
        lane=LANE,
    )
    return Message(envelope, head.encode() + _LINE * (size_bytes // len(_LINE)))


def publish_outbound(producer: Any, recipient: str, size_bytes: int) -> str:
    """Publish one message in one record and return its mail id."""
    message = make_message(recipient, size_bytes)
    value, headers = encode_pack([message])
    producer.send(names.outbound(LANE), value, headers=headers)
    return message.envelope.mail_id


class EventTimes:
    """Reads all events from the first event on, until close() is called."""

    def __init__(self, bootstrap: str) -> None:
        # Maps a mail id to the time at which its `delivered` event was read (monotonic clock,
        # seconds).
        self.seen: dict[str, float] = {}
        self._consumer: Any = KafkaConsumer(
            names.EVENTS,
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_MS,
        )
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, name="events")
        self._thread.start()

    def _read(self) -> None:
        while not self._ends.is_set():
            for records in self._consumer.poll(_POLL_MS).values():
                now = time.monotonic()
                for record in records:
                    event = decode_event(record.headers, record.value)
                    if isinstance(event, Event) and event.type is EventType.DELIVERED:
                        self.seen.setdefault(event.subject, now)

    def close(self) -> None:
        """Stop reading."""
        self._ends.set()
        self._thread.join()
        self._consumer.close()


class _Load:
    """Publishes mail at a steady rate and reads its events."""

    def __init__(self, bootstrap: str, rate_per_s: int) -> None:
        self._rate_per_s = rate_per_s
        self._producer: Any = KafkaProducer(
            bootstrap_servers=bootstrap, linger_ms=5, metrics_enabled=False
        )
        self._events = EventTimes(bootstrap)
        self._bad = 0

    def close(self) -> None:
        """Stop the reader and the producer."""
        self._events.close()
        self._producer.close()

    def run(self, seconds: float, bad_domain: str = "") -> Phase:
        """Publish mail for this many seconds, then wait until the good mail is delivered."""
        published: dict[str, float] = {}
        began = time.monotonic()
        for number in range(int(self._rate_per_s * seconds)):
            time.sleep(max(0.0, began + number / self._rate_per_s - time.monotonic()))
            if bad_domain and number % _GOOD_PER_BAD == 0:
                self._publish_bad(bad_domain)
            at = time.monotonic()
            good = f"r{number}@good{number % _GOOD_DOMAINS}.example"
            published[publish_outbound(self._producer, good, SMALL_BYTES)] = at
        until = time.monotonic() + _SETTLE_S
        while not published.keys() <= self._events.seen.keys() and time.monotonic() < until:
            time.sleep(_LOOK_S)
        return _phase(published, self._events.seen)

    def _publish_bad(self, domain: str) -> None:
        self._bad += 1
        size_bytes = LARGE_BYTES if self._bad % 2 else SMALL_BYTES
        publish_outbound(self._producer, f"r{self._bad}@{domain}", size_bytes)


def _phase(published: dict[str, float], seen: dict[str, float]) -> Phase:
    took = sorted(seen[key] - at for key, at in published.items() if key in seen) or [_SETTLE_S]
    found = [round(each * 1e3, 1) for each in (percentile(took, 0.5), percentile(took, 0.99))]
    delivered = sum(key in seen for key in published)
    return Phase(len(published), delivered, found[0], found[1], round(took[-1] * 1e3, 1))


@contextmanager
def _bad_servers() -> Iterator[dict[str, str]]:
    """Run the bad servers, and yield their addresses by name."""
    command = [sys.executable, "-m", "bench.bad_servers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def measure(site: str, rate_per_s: int, seconds: float) -> Result:
    """Measure good mail alone, and then beside one bad site. Raises PartNotStarted."""
    name = f"bad-sites-{os.getpid()}"
    folder = paths.run_folder(name)
    sink = Stack(StackOptions(name=name, folder=folder, services=())).endpoints.sink
    try:
        with _bad_servers() as servers:
            routes = {f"{site}.example": servers[site], "*": sink}
            env = {"deliver": {"SLUICE_DELIVER__ROUTES": json.dumps(routes)}}
            options = StackOptions(name=name, folder=folder, services=("deliver",), part_env=env)
            with Stack(options) as stack:
                return _measure(stack, site, rate_per_s, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(stack: Stack, site: str, rate_per_s: int, seconds: float) -> Result:
    load = _Load(stack.endpoints.kafka, rate_per_s)
    try:
        load.run(_WARM_UP_S)
        alone = load.run(seconds)
        beside = load.run(seconds, f"{site}.example")
    finally:
        load.close()
    usage = read_usage(stack.pids()["deliver"])
    peak_mb = round(usage.peak_rss_mb, 1) if usage else float("inf")
    return Result(site, alone, beside, round(beside.p99_ms / alone.p99_ms, 2), peak_mb)


@click.command()
@click.argument("site", type=click.Choice(list(SERVERS)))
@click.option("--rate", default=100, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(1.0))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(site: str, rate: int, seconds: float, *, as_json: bool) -> None:
    """Measure the mail to good sites, first alone and then together with a bad SITE."""
    result = measured(lambda: measure(site, rate, seconds))
    if as_json:
        print(msgspec.json.encode(result).decode())
    else:
        print(f"alone:  {result.alone}\nbeside: {result.beside}")
        print(f"p99 beside {site} to alone: {result.ratio}, required at most {MOST_RATIO}")
        print(f"peak memory of deliver: {result.peak_mb} MB, required at most {MOST_MB:.0f}")
    sys.exit(0 if result.holds else 1)
