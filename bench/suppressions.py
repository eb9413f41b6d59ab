"""Measures the view of suppressed recipients in a separate Redis, and the counting of bounces.

The view is filled with random recipients. `look_up_us` is the time per message that the look-up
adds to a batch, including waiting. `look_up_cpu_us` and `look_up_redis_us` are the processor times
of the look-up in this process and in Redis. `start_s` is the time from a new connection to the
first answer from the full view.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from msgspec import Struct

from local.parts import ports, redis_server
from local.supervisor import Supervisor
from services.validate.core.batch import Judged
from services.validate.core.suppression import fields_to_look_up, suppress, to_look_up
from services.validate.core.verdict import Passed
from shared.responses.counting.batch import CountingRules, Judging, count_batch, read_batch
from shared.responses.counting.counting import BounceCounter, Limits
from shared.responses.counting.incidents import IncidentPolicy
from shared.responses.counting.merging import Merged, Source
from shared.settings.sections import RedisSettings
from shared.store.client import connect
from shared.store.suppressions import SuppressionStore, encode_entry
from shared.topics import names
from shared.topics.codec import Headers, encode_event
from shared.topics.records import Envelope, EventType, Facts, MailEvent, Message, Origin
from shared.topics.suppressions import FIELD_BYTES, Suppression, SuppressionReason

_KEY: Final = "{bench}:suppressions"
_LOG: Final = "bench"
_PART: Final = 5_000
_BATCH: Final = 1_500  # the validate service judges this many messages at a time
_ROUNDS: Final = 20
_EVENTS: Final = 50_000


class Result(Struct, frozen=True):
    """The figures of one run."""

    recipients: int
    fill_s: float
    memory_mb: float
    start_s: float
    look_up_us: float
    look_up_cpu_us: float
    look_up_redis_us: float
    events_per_s: float
    peak_mb_of_this_process: float


class _Event(Struct, frozen=True, gc=False):
    offset: int
    timestamp: int
    headers: Headers
    key: bytes
    value: bytes


def measure(recipients: int) -> Result:
    """Run the benchmark with this many suppressed recipients. Raises PartNotStarted."""
    with _server() as url:
        client = connect(RedisSettings(url=url), decode_responses=False)
        store = SuppressionStore(client, _KEY)
        begun = perf_counter()
        _fill(store, recipients)
        filled_s = perf_counter() - begun
        memory = client.info("memory")
        begun = perf_counter()
        _look_up(
            SuppressionStore(connect(RedisSettings(url=url), decode_responses=False), _KEY),
            recipients,
            1,
        )
        start_s = perf_counter() - begun
        before = _cpu_s(client)
        wall_us, cpu_us = _look_up(store, recipients, _ROUNDS)
        redis_us = (_cpu_s(client) - before) * 1e6 / (_ROUNDS * _BATCH)
    return Result(
        recipients=recipients,
        fill_s=filled_s,
        memory_mb=_used(memory) / 1e6,
        start_s=start_s,
        look_up_us=wall_us,
        look_up_cpu_us=cpu_us,
        look_up_redis_us=redis_us,
        events_per_s=_count(),
        peak_mb_of_this_process=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    )


def described(result: Result) -> str:
    """Return the figures as text for people."""
    return "\n".join(
        [
            f"{result.recipients} suppressed recipients: {result.memory_mb:.0f} MB in Redis,"
            f" filled in {result.fill_s:.1f} s",
            f"first answer after {result.start_s:.3f} s",
            f"look-up: {result.look_up_us:.1f} µs per message,"
            f" processor time {result.look_up_cpu_us:.1f} µs in validate and"
            f" {result.look_up_redis_us:.1f} µs in Redis",
            f"counting: {result.events_per_s:.0f} events/s on one core, without Kafka and Redis",
        ]
    )


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        plan = redis_server.RedisPlan(Path(folder) / "redis", ports.free_ports(1, ())[0])
        supervisor = Supervisor(Path(folder) / "logs", restart=False, say=print)
        try:
            supervisor.start([redis_server.prepare(plan)])
            yield plan.url
        finally:
            supervisor.stop((("redis",),))


def _recipient(number: int) -> str:
    return f"recipient.{number}@domain-{number % 1_000}.example"


def _fill(store: SuppressionStore, recipients: int) -> None:
    place = -1
    for start in range(0, recipients, _PART):
        end = min(start + _PART, recipients)
        reason = SuppressionReason.IMPORTED
        entries = [
            encode_entry(Suppression("shop", reason, _recipient(number)))
            for number in range(start, end)
        ]
        store.apply(_LOG, place, end, entries)
        place = end


def _used(memory: object) -> int:
    return int(memory["used_memory"]) if isinstance(memory, dict) else 0


def _cpu_s(client: Any) -> float:
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _look_up(store: SuppressionStore, recipients: int, rounds: int) -> tuple[float, float]:
    """Look up batches of recipients. Return the elapsed time and the processor time of this process
    per message, in microseconds."""
    batches = [_batch(start, recipients) for start in range(rounds)]
    wall, cpu = perf_counter(), process_time()
    for judged in batches:
        indexes = to_look_up(judged)
        fields = fields_to_look_up(judged, indexes)
        step = 4_000 * FIELD_BYTES
        found = [store.find(_LOG, 0, fields[at : at + step]) for at in range(0, len(fields), step)]
        suppress(judged, indexes, b"".join(filter(None, found)), 1)
    per = 1e6 / (rounds * _BATCH)
    return (perf_counter() - wall) * per, (process_time() - cpu) * per


def _batch(start: int, recipients: int) -> list[Judged]:
    """Return a batch of judged messages. One recipient in fifty is suppressed."""
    found = []
    for number in range(_BATCH):
        chosen = start * _BATCH + number
        known = chosen % recipients if number % 50 == 0 else recipients + chosen
        to = _recipient(known)
        facts = Facts(to_address=to)
        envelope = Envelope("m", "shop", "a@s", to, "", 0, Origin(), facts)
        found.append(Judged(Message(envelope, b""), Passed(envelope)))
    return found


def _count() -> float:
    """Count events, of which one in five is a bounce. Return the number of counted events per
    second."""
    source = Source(names.EVENTS, 0)
    batch = []
    for number in range(_EVENTS):
        kind = EventType.BOUNCED if number % 5 == 0 else EventType.DELIVERED
        bounce_class = ("hard", "soft")[number % 2] if kind is EventType.BOUNCED else ""
        data = MailEvent("shop", recipient=_recipient(number % 9_000), bounce_class=bounce_class)
        key, value, headers = encode_event(kind, f"{number:026d}", data, "deliver")
        batch.append(Merged(number, source, _Event(number, number, headers, key, value)))
    counters: dict[bytes, BounceCounter] = {}
    judging = Judging(CountingRules(IncidentPolicy(_EVENTS, 50, 600_000)))
    begun = process_time()
    for start in range(0, _EVENTS, _PART):
        read = read_batch(batch[start : start + _PART])
        read.fields()
        counted = count_batch(read.steps, counters, {}, lambda _: Limits(3, 5), judging)
        counters.update(counted.counters)
        judging = Judging(judging.rules, counted.incidents)
    return _EVENTS / (process_time() - begun)
