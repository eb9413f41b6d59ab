"""Measures the pools of the deliver service, with messages from memory, and its peers in one run.

The senders run in turn. Each sends the same number of messages over the same number of connections
to one sink. The CPU time is the time of the sending process. The sending process uses the same
memory settings as a service. `bench e2e` measures the whole pipeline.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from bench import opendkim, postfix, smtp_sink, tls_sink
from bench.deliver_result import (
    AIOSMTPLIB,
    ENGINE,
    LARGE,
    PLAIN,
    POSTFIX,
    SHAPED,
    SIGNING,
    SOURCE,
    TLS,
    UNSHAPED,
    Result,
    Row,
    bars_of,
    row_of,
)
from bench.measured import run_interruptibly
from bench.micro import shaping
from bench.micro.in_turn import Side, measure_pairs
from bench.micro.pools import (
    SENDER,
    Figure,
    aiosmtplib_figure,
    content_of,
    pools_figure,
    sending,
)
from bench.micro.pools import (
    measure as measure_sending,
)
from bench.opendkim import RSA_BITS
from bench.smtp_sink import program
from local.parts import redis_server
from local.parts.credentials import make_certificate
from services.deliver.edge.signing.signer import FixedKeys, Signer
from shared.mailauth.dkim_keys.folder import PrivateKey, algorithm_of
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex
from shared.runtime.clock import SystemClock
from shared.runtime.machine import calm_collector, keep_freed_memory
from shared.topics.records import Envelope

CONNECTIONS: Final = 20
LARGE_BYTES: Final = 102_400
# The runs with large messages and the runs with Postfix send only this share of the messages. They
# are slower, because a large message takes ten times as long, and Postfix writes to its queue.
LARGE_SHARE: Final = 0.2
# For the cost of limits, this many pairs of runs are measured per repeat. One pair is not enough,
# because the cost of the limits is smaller than the differences between runs on a shared machine.
PAIRS_PER_REPEAT: Final = 3
_RUN_TIMEOUT_S: Final = 900.0


class Options(Struct, frozen=True):
    """The numbers of messages and repeats, and the size of the messages."""

    messages: int
    size_bytes: int
    repeats: int


class _Place(Struct, frozen=True):
    options: Options
    folder: Path
    sink: str
    plain_sink: str
    tls_sink: str


def measure(options: Options) -> Result:
    """Measure all senders in turn, several times, in a process with the memory settings of a
    service."""
    keep_freed_memory()
    calm_collector()
    left_out: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = make_certificate(folder)
        with (
            smtp_sink.running(folder) as sink,
            tls_sink.running() as plain,
            tls_sink.running(files.certificate, files.key) as secured,
        ):
            at = _Place(options, folder, sink.address, plain, secured)
            senders: dict[str, Callable[[_Place], Figure]] = {
                ENGINE: _engine,
                SOURCE: _smtp_source,
                AIOSMTPLIB: _aiosmtplib,
                SIGNING: _signing,
                LARGE: _large,
            }
            if opendkim.is_there():
                senders[POSTFIX] = _postfix
            else:
                left_out.append(f"{POSTFIX}: not measured, opendkim is not installed")
            figures: dict[str, list[Figure]] = {name: [] for name in senders}
            for _ in range(options.repeats):
                for name, sender in senders.items():
                    figures[name].append(sender(at))
            rows = [row_of(name, found) for name, found in figures.items()]
            rows += run_interruptibly(_tls(at, PAIRS_PER_REPEAT * options.repeats))
            rows += _shaping(at)
    return Result(options.messages, options.size_bytes, CONNECTIONS, rows, bars_of(rows), left_out)


def _content(at: _Place) -> bytes:
    return content_of(at.options.size_bytes)


def _engine(at: _Place) -> Figure:
    return run_interruptibly(pools_figure(at.sink, CONNECTIONS, at.options.messages, _content(at)))


def _aiosmtplib(at: _Place) -> Figure:
    return run_interruptibly(
        aiosmtplib_figure(at.sink, CONNECTIONS, at.options.messages, _content(at))
    )


def _large(at: _Place) -> Figure:
    count = max(1, int(at.options.messages * LARGE_SHARE))
    return run_interruptibly(pools_figure(at.sink, CONNECTIONS, count, content_of(LARGE_BYTES)))


def _smtp_source(at: _Place) -> Figure:
    command = [
        *(program("smtp-source"), "-d", "-s", str(CONNECTIONS), "-m", str(at.options.messages)),
        *("-l", str(at.options.size_bytes), "-f", SENDER, "-t", "reader@recipients.example"),
        at.sink,
    ]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, timeout=_RUN_TIMEOUT_S)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    messages = at.options.messages
    return Figure(SOURCE, round(used / messages * 1e6, 1), round(messages / took))


def _signing(at: _Place) -> Figure:
    key: PrivateKey = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    entry = Key(KeyEntry("sluice", "-"), algorithm_of(key), key)
    signer = Signer(FixedKeys(KeyIndex([entry])), SystemClock())
    domain = SENDER.partition("@")[2]

    async def measure_signing() -> Figure:
        async with sending(at.sink, CONNECTIONS) as send:

            async def sign_and_send(envelope: Envelope, content: bytes) -> None:
                await send(envelope, signer.sign(content, domain))

            return await measure_sending("pools", sign_and_send, at.options.messages, _content(at))

    return run_interruptibly(measure_signing())


async def _tls(at: _Place, count: int) -> list[Row]:
    """Measure TLS beside plain text, in turn, in `count` pairs."""
    async with (
        sending(at.plain_sink, CONNECTIONS) as plain,
        sending(at.tls_sink, CONNECTIONS) as secured,
    ):
        sides = (Side(PLAIN, plain), Side(TLS, secured))
        figures = await measure_pairs(sides, count, at.options.messages, _content(at))
    return [row_of(side.name, each) for side, each in zip(sides, figures, strict=True)]


def _postfix(at: _Place) -> Figure:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with opendkim.running(folder / "dkim") as milter:
            run = postfix.measure(
                folder / "postfix", "ram", at.options.messages, at.options.size_bytes, milter
            )
    return Figure(POSTFIX, 0.0, run.messages_per_s)


def _shaping(at: _Place) -> list[Row]:
    rules = at.folder / "shaping.toml"
    rules.write_text(shaping.RULES)
    with redis_server.running(at.folder / "redis") as (redis, _):
        run = shaping.Run(at.sink, redis.url, at.options.messages, _content(at), rules)
        pairs = shaping.pairs(run, PAIRS_PER_REPEAT * at.options.repeats)
    return [row_of(UNSHAPED, pairs.without), row_of(SHAPED, pairs.shaped)]
