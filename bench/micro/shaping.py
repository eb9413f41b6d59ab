"""`python -m bench.micro.shaping` measures the CPU time that shaping adds to `Pools.send`.

One process has pools without shaping and pools with shaping. Both send the same messages over the
same number of connections to one smtp-sink of Postfix. With shaping, each message is counted under
15 limits in a real Valkey: messages per second, messages per day and bytes, for every scope. The
limits are so high that none is reached.

The two sides take turns. In each turn, both sides send a slice of their messages, and the side that
begins changes with every turn. So a change in the speed of the machine affects both sides. While
one side sends, the other side also does some work (its deadlines, its call per second). This work
affects both sides, too. Before each slice, the side sends some messages that are not measured.
These messages reopen the connections and the leases that ended during the slice of the other side.

The program measures only the CPU time of this process, not the CPU time of smtp-sink and Valkey.
But on a machine with few processors, the work of smtp-sink and Valkey lowers the messages per
second of both sides.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import click
import msgspec
from msgspec import Struct

from bench import smtp_sink
from bench.measured import measured, run_interruptibly
from bench.micro.in_turn import Side, measure_pairs
from bench.micro.pools import (
    Figure,
    Send,
    content_of,
    make_pools,
    sending,
    through,
)
from local.parts import redis_server
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import Workers
from services.deliver.edge.shaping.lease_client import Stores
from services.deliver.edge.shaping.loading import load_rules
from services.deliver.edge.shaping.shaper import Shaper
from shared.runtime.clock import SystemClock
from shared.runtime.machine import calm_collector, keep_freed_memory
from shared.runtime.telemetry import Counters
from shared.settings.sections import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.leases import LeaseStore
from shared.store.suspensions import SuspensionStore

CONNECTIONS: Final = 20
_LOOK_S: Final = 0.05
_LIMITS: Final = 'messages = ["1000000/s", "1000000000 in 24h"]\nbytes = "100GB/s"\n'
RULES: Final = "".join(
    f"[{table}]\n{_LIMITS}"
    for table in (
        "provider.sink",
        'domain."recipients.example"',
        "client.bench",
        "client.bench.provider.sink",
        'mailing."bench/"',
    )
).replace("[provider.sink]\n", '[provider.sink]\ndomains = ["recipients.example"]\n')


class Result(Struct, frozen=True):
    """The figures of each pair of runs, and the median of the ratios of their CPU times."""

    without: tuple[Figure, ...]
    shaped: tuple[Figure, ...]
    ratio: float


class Run(Struct, frozen=True):
    """The addresses of the servers, and the mail to send."""

    address: str
    redis: str
    messages: int
    content: bytes
    rules: Path


@asynccontextmanager
async def _shaped(run: Run) -> AsyncIterator[Send]:
    counters, redis = Counters("b"), RedisSettings(url=run.redis)
    client = connect_async(redis, retry=NO_RETRY, socket_timeout=None)  # as deliver does
    tag = f"{{bench:{secrets.token_hex(4)}}}"
    throttle = Throttle(load_rules(str(run.rules)), Workers(1))
    stores = Stores(LeaseStore(client, tag), SuspensionStore(client, tag))
    shaper = Shaper(throttle, stores, "bench", SystemClock(), counters)
    pools = make_pools(run.address, CONNECTIONS, shaper)
    shaper.start()
    pools.start()
    try:
        # Wait until Redis shares the limits, as in a process that has been running for a while.
        while throttle.workers.local_until:  # noqa: ASYNC110 - no event reports it
            await asyncio.sleep(_LOOK_S)
        yield through(pools)
    finally:
        await pools.close()
        await shaper.close()
        await client.aclose()
        counters.close()


async def _measure(run: Run, count: int) -> Result:
    async with sending(run.address, CONNECTIONS) as without, _shaped(run) as shaped:
        sides = (Side("without", without), Side("shaped", shaped))
        plain, limited = await measure_pairs(sides, count, run.messages, run.content)
    ratios = [
        with_it.cpu_us_per_message / one.cpu_us_per_message
        for one, with_it in zip(plain, limited, strict=True)
    ]
    return Result(tuple(plain), tuple(limited), round(median(ratios), 3))


def pairs(run: Run, count: int) -> Result:
    """Measure `count` pairs of runs, one pair after the other."""
    return run_interruptibly(_measure(run, count))


@click.command()
@click.option("--messages", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(100))
@click.option("--pairs", "count", default=5, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(messages: int, size: int, count: int, *, as_json: bool) -> None:
    """Measure pairs, and print the median of their ratios."""
    keep_freed_memory()
    calm_collector()

    def measure_all() -> Result:
        with tempfile.TemporaryDirectory() as name, smtp_sink.running(Path(name)) as sink:
            folder = Path(name)
            rules = folder / "shaping.toml"
            rules.write_text(RULES)
            with redis_server.running(folder / "redis") as (redis, _):
                run = Run(sink.address, redis.url, messages, content_of(size), rules)
                return pairs(run, count)

    result = measured(measure_all)
    if as_json:
        print(msgspec.json.encode(result).decode())
        return
    for figure in (*result.without, *result.shaped):
        print(
            f"{figure.name:10} {figure.cpu_us_per_message:8.1f} us CPU per message"
            f" {figure.messages_per_s:8.0f} messages/s"
        )
    print(f"median of the ratios: {result.ratio}")


if __name__ == "__main__":
    main()
