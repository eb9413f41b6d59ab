"""A worker that shares limits, as a separate process that can be killed and paused.

`python -m tests.support.limited_process URL TAG NAME LIMITS FILE` sends as fast as LIMITS allow,
and appends the time of each message to FILE (seconds of the machine's monotonic clock, which all
processes share).
"""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from tests.support.limited_workers import LimitedWorker, stores

_TIME = struct.Struct("d")


class Times(list[float]):
    """The times of sent messages. Each is written at once, so a killed process loses none."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(self, at: float) -> None:
        os.write(self._file, _TIME.pack(at))


def read_times(path: Path) -> list[float]:
    """Return the times that a worker has written so far."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [at for (at,) in _TIME.iter_unpack(data[: len(data) // _TIME.size * _TIME.size])]


@contextmanager
def running(url: str, tag: str, limits: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run such a worker, named after its file; it is killed at the end."""
    words = (url, tag, path.name, limits, str(path))
    process = subprocess.Popen([sys.executable, "-m", "tests.support.limited_process", *words])
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


async def _run(url: str, tag: str, name: str, limits: str, path: str) -> None:
    client = connect_async(RedisSettings(url=url), retry=NO_RETRY)
    worker = LimitedWorker(name, limits, stores(client, tag))
    worker.sent = Times(Path(path))
    async with worker.working():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:]))
