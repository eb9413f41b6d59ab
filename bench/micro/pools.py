"""`python -m bench.micro.pools` compares the CPU time per message of `Pools.send` and aiosmtplib.

Both senders send the same messages over the same number of connections to Postfix's smtp-sink. This
program starts the sink. The program measures only the CPU time of this process, so the figures are
valid even on a busy machine.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiosmtplib
import click
import msgspec
from msgspec import Struct

from bench import smtp_sink
from bench.measured import measured, run_interruptibly
from services.deliver.core.attempt.results import Delivered
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.core.pool.slow_sites import Room
from services.deliver.core.routing.sites import Routes
from services.deliver.edge.dns.resolver import Resolver
from services.deliver.edge.pool.pools import Pools, Routing
from services.deliver.edge.shaping.shaper import Shaper
from services.deliver.edge.smtp.connection import Timeouts
from services.deliver.edge.smtp.opening import Opener
from services.deliver.sending import load_outcome_rules
from shared.runtime.failpoints import Failpoints
from shared.topics.records import Envelope, Facts, Origin

SENDER: Final = "newsletter@news.example.com"
# The number of messages in flight at a time. The window of the deliver service is similar.
WINDOW: Final = 200
_LINE: Final = b"The quick brown fox jumps over the lazy dog and asks for its newsletter.\r\n"
_WARM_UP: Final = 500

Send = Callable[[Envelope, bytes], Awaitable[None]]


class Figure(Struct, frozen=True):
    """The cost of one sender."""

    name: str
    cpu_us_per_message: float
    messages_per_s: float


class Used(Struct, frozen=True):
    """The CPU time of this process, and the time that has passed."""

    cpu_s: float = 0.0
    seconds: float = 0.0

    def figure(self, name: str, messages: int) -> Figure:
        """Return the cost of a message, if this was used for so many messages."""
        cpu_us = round(self.cpu_s / messages * 1e6, 1)
        return Figure(name, cpu_us, round(messages / self.seconds))


def envelope(number: int) -> Envelope:
    """Return the envelope with this number. Each envelope has a different recipient."""
    return Envelope(
        mail_id=f"{number:026d}",
        client="bench",
        sender=SENDER,
        recipient=f"reader-{number}@recipients.example",
        message_id=f"<{number}@news.example.com>",
        received_at_ms=0,
        origin=Origin(),
        facts=Facts(),
        lane="default",
    )


def envelopes(count: int) -> list[Envelope]:
    """Return envelopes. They are made before a measurement, because the peers do not make
    envelopes."""
    return [envelope(number) for number in range(count)]


def content_of(size_bytes: int) -> bytes:
    """Return a message of about this size."""
    head = b"Message-ID: <1@news.example.com>\r\nSubject: News\r\n\r\n"
    return head + _LINE * max(1, (size_bytes - len(head)) // len(_LINE))


def cpu_s() -> float:
    """Return the CPU seconds that this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(name: str, send: Send, messages: int, content: bytes) -> Figure:
    """Send `messages` messages, WINDOW at a time, and return the cost of a message."""
    used = await send_measured(send, _WARM_UP, messages, content)
    return used.figure(name, messages)


async def send_measured(send: Send, warm_up: int, messages: int, content: bytes) -> Used:
    """Send `warm_up` messages, and then the messages that are measured."""
    first, measured_ones = envelopes(warm_up), envelopes(messages)
    await send_all(send, first, content)
    cpu, began = cpu_s(), time.perf_counter()
    await send_all(send, measured_ones, content)
    return Used(cpu_s() - cpu, time.perf_counter() - began)


async def send_all(send: Send, messages: list[Envelope], content: bytes) -> None:
    """Send messages with this content, WINDOW at a time.

    There are WINDOW tasks and not one task per message, as in the deliver service (stepping.py).
    """
    waiting = iter(messages)

    async def work() -> None:
        for message in waiting:
            await send(message, content)

    await asyncio.gather(*(work() for _ in range(WINDOW)))


async def pools_figure(address: str, connections: int, messages: int, content: bytes) -> Figure:
    async with sending(address, connections) as send:
        return await measure("pools", send, messages, content)


@asynccontextmanager
async def sending(address: str, connections: int) -> AsyncIterator[Send]:
    """Run the pools of the deliver service, and yield a function that sends through them."""
    pools = make_pools(address, connections)
    pools.start()
    try:
        yield through(pools)
    finally:
        await pools.close()


def make_pools(address: str, connections: int, shaper: Shaper | None = None) -> Pools:
    """Return the pools of the deliver service, with a route to this address."""
    limits = PoolLimits(max_connections=connections, max_messages_per_connection=1_000_000)
    opener = Opener("bench.invalid", Timeouts(10, 10, 10, 10), Failpoints.none())
    routing = Routing(Routes({"*": address}), Resolver(time.monotonic))
    room, rules = Room(WINDOW, 1 << 30), load_outcome_rules()
    return Pools(limits, room, routing, opener, rules, shaper=shaper)


def through(pools: Pools) -> Send:
    """Return a function that sends through these pools, and raises PeerError for a message that is
    not delivered."""

    async def send(envelope: Envelope, content: bytes) -> None:
        outcome = await pools.send(envelope, content)
        if not isinstance(outcome, Delivered):
            raise smtp_sink.PeerError(f"not delivered: {outcome}")

    return send


async def aiosmtplib_figure(
    address: str, connections: int, messages: int, content: bytes
) -> Figure:
    """Measure aiosmtplib's sendmail."""
    host, _, port = address.rpartition(":")
    idle: asyncio.Queue[aiosmtplib.SMTP] = asyncio.Queue()
    clients = [aiosmtplib.SMTP(hostname=host, port=int(port)) for _ in range(connections)]
    for client in clients:
        await client.connect()
        idle.put_nowait(client)

    async def send(envelope: Envelope, content: bytes) -> None:
        client = await idle.get()
        await client.sendmail(envelope.sender, envelope.recipient, content)
        idle.put_nowait(client)

    try:
        return await measure("aiosmtplib sendmail", send, messages, content)
    finally:
        for client in clients:
            client.close()


@click.command()
@click.option("--messages", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--size", default=10_240, show_default=True, type=click.IntRange(100))
@click.option("--connections", default=20, show_default=True, type=click.IntRange(1))
@click.option("--only-pools", is_flag=True, help="Omit the peer (for a profiler).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(messages: int, size: int, connections: int, *, only_pools: bool, as_json: bool) -> None:
    """Measure deliver's pools and the peer."""
    content = content_of(size)
    senders = [pools_figure] if only_pools else [pools_figure, aiosmtplib_figure]

    def measure_all() -> list[Figure]:
        with tempfile.TemporaryDirectory() as folder, smtp_sink.running(Path(folder)) as sink:
            return [
                run_interruptibly(sender(sink.address, connections, messages, content))
                for sender in senders
            ]

    figures = measured(measure_all)
    if as_json:
        print(msgspec.json.encode(figures).decode())
        return
    for figure in figures:
        print(
            f"{figure.name:20} {figure.cpu_us_per_message:8.1f} us CPU per message"
            f" {figure.messages_per_s:8.0f} messages/s"
        )


if __name__ == "__main__":
    main()
