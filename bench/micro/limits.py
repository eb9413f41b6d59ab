"""`python -m bench.micro.limits` measures the time that shaping adds to a message, without I/O.

For each message, the program makes the same calls as a pool, in the same order. There are 15 limits
(bench/micro/shaping.py), with leases that do not end. The figures vary far less than the figures of
a run with sockets, so they show small changes. The program prints the fastest of many runs.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import uvloop

from bench.micro.pools import envelope
from bench.micro.shaping import RULES
from services.deliver.core.pool.waiting import Waiting
from services.deliver.core.routing.sites import Site
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Grant, Workers
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.shaping.loading import load_rules
from services.deliver.edge.shaping.shaper import Shaper
from shared.runtime.clock import SystemClock
from shared.runtime.machine import calm_collector
from shared.runtime.telemetry import Counters
from shared.settings.sections import RedisSettings
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply
from shared.store.client import connect_async
from shared.store.leases import LeaseStore
from shared.store.suspensions import SuspensionStore

_RUNS: Final = 30
_MUCH: Final = 1e12
_SIZE_BYTES: Final = 10_240
_TAG: Final = "{bench}"
_DOMAIN: Final = "recipients.example"
_ACCEPTED: Final = Finished(Stage.CONTENT, Reply(250, "2.0.0", "Ok"))


class _Message:
    size_bytes = _SIZE_BYTES


def _grant_much(throttle: Throttle, now: float) -> None:
    for each in throttle.allowances:
        each.granted(Grant(_MUCH, now, 0.0))


def _pass_limits(shaper: Shaper, now: float, count: int) -> None:
    """Pass each message through the limits, from its arrival to the end of its transaction.

    `now` does not advance. If it did, leases could end while this process is interrupted.
    """
    mail, message = envelope(1), _Message()
    to = shaper.destination(_DOMAIN, Site(_DOMAIN, ()))
    waiting: Waiting[_Message] = Waiting()
    for _ in range(count):
        group = shaper.group(mail, to)
        assert shaper.held(group, mail.lane) is None
        waiting.add(message, now, group)
        assert waiting.take(now) is not None
        shaper.ended(group, _ACCEPTED, "192.0.2.1")


def _pass_no_limits(now: float, count: int) -> None:
    """Make the calls that a pool without shaping makes."""
    message = _Message()
    waiting: Waiting[_Message] = Waiting()
    for _ in range(count):
        waiting.add(message, now, None)
        assert waiting.take(now) is not None


def _fastest_us(run: Callable[[int], None], prepare: Callable[[], None], count: int) -> float:
    found = []
    for _ in range(_RUNS):
        prepare()
        began = time.perf_counter()
        run(count)
        found.append((time.perf_counter() - began) / count * 1e6)
    return min(found)


async def measure(rules: str, count: int) -> tuple[float, float]:
    """Return the microseconds per message with limits and without limits."""
    throttle = Throttle(load_rules(rules), Workers(1, 0.0))
    counters, now = Counters("bench"), asyncio.get_running_loop().time()
    client = connect_async(RedisSettings())  # it never connects, because it sends no request
    stores = Stores(LeaseStore(client, _TAG), SuspensionStore(client, _TAG))
    shaper = Shaper(throttle, stores, "bench", SystemClock(), counters)
    # Pass one message first, because the first message creates the limits.
    shaper.group(envelope(1), shaper.destination(_DOMAIN, Site(_DOMAIN, ())))
    limited = _fastest_us(
        lambda each: _pass_limits(shaper, now, each), lambda: _grant_much(throttle, now), count
    )
    free = _fastest_us(lambda each: _pass_no_limits(now, each), lambda: None, count)
    counters.close()
    return limited, free


@click.command()
@click.option("--messages", default=2_000, show_default=True, type=click.IntRange(1))
def main(messages: int) -> None:
    """Measure the path of a message through its limits."""
    calm_collector()
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "shaping.toml"
        rules.write_text(RULES)
        limited, free = uvloop.run(measure(str(rules), messages))
    print(f"with 15 limits: {limited:.2f} us per message, without: {free:.2f} us")


if __name__ == "__main__":
    main()
