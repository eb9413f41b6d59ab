"""Measures how long rebuilding the view of suppressed recipients takes in an emptied Redis.

The benchmark starts Kafka and Redis, fills mail.suppressions as `sluice suppressions import` does,
and empties Redis (FLUSHALL). Then the benchmark starts the part of the validate service that fills
the view, and measures the time until the view can be used again. In production, the validate
service judges no mail during this time.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import Final

from msgspec import Struct

from cli.stack import paths
from cli.suppressions.topic import write_records
from local.stack import Stack, StackOptions
from services.validate.edge.suppression_view import SuppressionFollower
from shared.runtime.clock import SystemClock
from shared.settings.sections import KafkaSettings, RedisSettings
from shared.store.client import connect
from shared.store.suppressions import SuppressionStore
from shared.stream.admin import ensure_topics
from shared.stream.client import ClientOptions
from shared.topics import names
from shared.topics.suppressions import Suppression, SuppressionReason

_KEY: Final = "{bench}:suppressions"
_CPU: Final = ("used_cpu_user", "used_cpu_sys")
_POLL_S: Final = 0.05
# A rebuild is aborted after this time. A rebuild with 5 million recipients takes about a tenth of
# this time.
_LIMIT_S: Final = 600.0


class Result(Struct, frozen=True):
    """The figures of one run. `cpu_s` is the processor time of the process that reads Kafka."""

    recipients: int
    write_s: float
    rebuild_s: float
    cpu_s: float
    redis_cpu_s: float
    per_s: int


def measure(recipients: int) -> Result:
    """Start a broker and a store, fill the topic, empty the store. Raises PartNotStarted."""
    with _started() as (bootstrap, redis_url):
        kafka = KafkaSettings(bootstrap=bootstrap)
        ensure_topics(kafka, [each for each in names.plans(()) if each.name == names.SUPPRESSIONS])
        begun = perf_counter()
        end = write_records(kafka, map(_entry, range(recipients)))
        write_s = perf_counter() - begun
        client = connect(RedisSettings(url=redis_url), decode_responses=False)
        client.flushall()
        store = SuppressionStore(client, _KEY)
        follower = SuppressionFollower(ClientOptions(bootstrap, "bench"), store, SystemClock())
        before = client.info("cpu")
        wall, cpu = perf_counter(), process_time()
        follower.start()
        try:
            _wait(follower, end)
        finally:
            follower.close()
        wall, cpu = perf_counter() - wall, process_time() - cpu
        after = client.info("cpu")
    used = sum(float(after[each]) - float(before[each]) for each in _CPU)
    return Result(recipients, write_s, wall, cpu, used, round(recipients / wall))


def described(result: Result) -> str:
    """Return the figures as text for people."""
    return "\n".join(
        [
            f"{result.recipients} suppressed recipients:"
            f" written to Kafka in {result.write_s:.1f} s",
            f"view complete {result.rebuild_s:.1f} s after FLUSHALL"
            f" ({result.per_s} per second; processor time {result.cpu_s:.1f} s in validate,"
            f" {result.redis_cpu_s:.1f} s in Redis)",
        ]
    )


@contextmanager
def _started() -> Iterator[tuple[str, str]]:
    folder = paths.run_folder(f"bench-suppressions-{uuid.uuid4().hex[:6]}")
    stack = Stack(
        StackOptions(name="bench", folder=folder, services=(), sink=False, is_kafka_optimised=True)
    )
    stack.start()
    try:
        yield stack.endpoints.kafka, stack.endpoints.redis
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _entry(number: int) -> Suppression:
    return Suppression(
        "shop",
        SuppressionReason.IMPORTED,
        f"recipient.{number}@domain-{number % 1_000}.example",
        at_ms=1_796_000_000_000 + number,
        author="operator",
        note="list of the former provider",
    )


def _wait(follower: SuppressionFollower, end: int) -> None:
    until = time.monotonic() + _LIMIT_S
    while (found := follower.confirmed()) is None or found.end < end:
        if time.monotonic() > until:
            raise TimeoutError(f"the view is not complete after {_LIMIT_S:g} s: {follower.fault()}")
        time.sleep(_POLL_S)
