"""Measures the time from a one-click unsubscribe POST until Kafka has the event and the entry.

The benchmark starts Kafka, Redis and one process `validate api`. Each connection sends one POST
after another. Each POST uses the link of a different recipient, so that each POST results in a
write. The time is measured from the request to the complete answer.
"""

from __future__ import annotations

import http.client
import math
import shutil
import threading
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.stack import paths
from cli.stack.paths import API
from local.parts.credentials import make_return_keys
from local.stack import Stack, StackOptions
from shared.mail import verp
from shared.mail.unsubscribe import make_token
from shared.mail.verp import ReturnPath, parse_keys
from shared.registry.client import Client
from shared.registry.store import publish
from shared.registry.store.changes import Changes
from shared.runtime.clock import now_ms
from shared.settings.sections import KafkaSettings
from shared.topics import ids

BAR_MS: Final = 250.0
WARM_UP: Final = 200
_CLIENT: Final = Client("bench", "news.bench.example", "back@bench.example.org", "standard")
_BODY: Final = "List-Unsubscribe=One-Click"
_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_TIMEOUT_S: Final = 30
_REGISTERED_S: Final = 60


class Result(Struct, frozen=True):
    """The measurements. The times are per answered POST."""

    requests: int
    connections: int
    per_second: float
    median_ms: float
    p99_ms: float
    worst_ms: float
    failed: int  # requests that were not answered with 200

    @property
    def holds(self) -> bool:
        """Return True if the answers are as fast as promised."""
        return self.p99_ms < BAR_MS and not self.failed


def measure(requests: int, connections: int) -> Result:
    """Send this number of requests and measure their times. Raises PartNotStarted."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    folder = paths.run_folder(name)
    options = StackOptions(name=name, folder=folder, services=(API,), sink=False, restart=False)
    try:
        with Stack(options) as stack:
            kafka = KafkaSettings(bootstrap=stack.endpoints.kafka)
            publish.apply(kafka, Changes(added=(_CLIENT,)))
            tokens = _tokens(folder, requests + WARM_UP + 1)
            port = urllib.parse.urlsplit(stack.endpoints.api or "").port or 0
            _wait_registered(port, tokens.pop())
            _run(port, tokens[:WARM_UP], connections)
            return _run(port, tokens[WARM_UP:], connections)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def described(result: Result) -> str:
    """Return the figures as text for people."""
    return (
        f"{result.requests:,} clicks over {result.connections} connections:"
        f" {result.per_second:g} per second; median {result.median_ms:g} ms, 99th percentile"
        f" {result.p99_ms:g} ms (required: below {BAR_MS:g}), worst {result.worst_ms:g} ms;"
        f" {result.failed} failed"
    )


def _tokens(folder: Path, count: int) -> list[str]:
    keys = parse_keys(make_return_keys(folder).read_text())
    mailing, at_ms = verp.mailing_hash("standard", ""), now_ms()
    found = []
    for number in range(count):
        mail_id = ids.encode((at_ms << 80) + number)
        recipient = f"r{number}@isp.example"
        hashed = verp.recipient_hash(mail_id, recipient)
        path = ReturnPath(verp.day_of(at_ms), mailing, hashed, mail_id)
        found.append(make_token(_CLIENT.name, verp.encode(keys, _CLIENT.name, path), recipient))
    return found


def _wait_registered(port: int, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    until = time.monotonic() + _REGISTERED_S
    while _post(connection, token) != http.HTTPStatus.OK:
        if time.monotonic() > until:
            raise RuntimeError("the client is not known after a minute")
        time.sleep(0.1)
    connection.close()


def _run(port: int, tokens: list[str], connections: int) -> Result:
    times: list[float] = []
    failed: list[int] = []

    def one(own: list[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        for token in own:
            began = time.perf_counter()
            status = _post(connection, token)
            times.append((time.perf_counter() - began) * 1000)
            if status != http.HTTPStatus.OK:
                failed.append(status)
        connection.close()

    parts = [tokens[number::connections] for number in range(connections)]
    threads = [threading.Thread(target=one, args=(part,)) for part in parts]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - began
    times.sort()
    return Result(
        requests=len(times),
        connections=connections,
        per_second=round(len(times) / took_s, 1),
        median_ms=round(times[len(times) // 2], 1),
        p99_ms=round(times[math.ceil(0.99 * len(times)) - 1], 1),
        worst_ms=round(times[-1], 1),
        failed=len(failed) + len(tokens) - len(times),
    )


def _post(connection: http.client.HTTPConnection, token: str) -> int:
    connection.request("POST", f"/u/{token}", _BODY, _HEADERS)
    answer = connection.getresponse()
    answer.read()
    return answer.status
