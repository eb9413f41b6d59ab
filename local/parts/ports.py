"""Finds free ports on the loopback interface.

The ports are below the range that the kernel uses for outgoing connections, so that a part that is
stopped and restarted finds its port free. A chosen port is reserved for this process until the
process ends. So no other pipeline chooses the port, even if no server listens on the port yet or
the server is being restarted. The reservation is a lock on one byte of a file that all processes of
a user share. If the process is killed, the kernel releases the lock.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import random
import socket
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO, Final

LOOPBACK: Final = "127.0.0.1"
_LOWEST: Final = 20_000
_HIGHEST: Final = 32_000  # Linux uses the ports from 32768 on for outgoing connections.
_TRIES: Final = 200
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def is_free(port: int) -> bool:
    """Return True if a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@functools.cache
def _reservations() -> BinaryIO:
    # The file stays open until this process ends, because all locks are released when the file is
    # closed.
    file = Path(tempfile.gettempdir()) / f"sluice-ports-{os.getuid()}"
    return os.fdopen(os.open(file, _FLAGS, 0o600), "r+b", buffering=0)


def reserve(port: int) -> bool:
    """Reserve this port for this process. Return False if another process has reserved it."""
    file = _reservations()
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def release() -> None:
    """Release all ports that this process has reserved."""
    fcntl.lockf(_reservations(), fcntl.LOCK_UN)


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Find `count` different free ports at random, so that two pipelines do not collide.

    `taken` contains ports that must not be chosen, because they were found earlier and no server
    listens on them yet.
    """
    draw = random.SystemRandom()
    found: list[int] = []
    for _ in range(_TRIES * count):
        port = draw.randrange(_LOWEST, _HIGHEST)
        if port not in (*found, *taken) and reserve(port) and is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports between {_LOWEST} and {_HIGHEST}")


# The ports of `./sluice up` as offsets from its base port, so that they are the same at each start.
# The HTTP ports of the services begin at the offset _FIRST_HTTP, with ten ports for each service.
DEFAULT_BASE: Final = 19_000
_OFFSETS: Final = {
    "sink": 25,
    "bounce": 26,
    "billing": 80,
    "api": 82,
    "kafka": 92,
    "controller": 93,
    "kafka-2": 94,
    "controller-2": 95,
    "kafka-3": 96,
    "controller-3": 97,
    "redis": 379,
    "smtps": 465,
    "smtp": 587,
}
_FIRST_HTTP: Final = 101
_HTTP_PER_SERVICE: Final = 10


class PortInUseError(OSError):
    """Another program uses a port that is fixed because it must be the same at each start."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(f"port {port}, for {name}, is used by another program")


def fixed_ports(names: Sequence[str], base: int) -> dict[str, int]:
    """Return the port of each name. Raises PortInUseError for the first port that is not free."""
    found = {name: base + _OFFSETS[name] for name in names}
    for name, port in found.items():
        if not is_free(port):
            raise PortInUseError(name, port)
    return found


def fixed_http_port(services: Sequence[str], process: str, base: int) -> int:
    """Return the HTTP port of a process such as `deliver-2`. Raises PortInUseError."""
    service, _, number = process.partition("-")
    nth = int(number or 1) - 1
    port = base + _FIRST_HTTP + _HTTP_PER_SERVICE * services.index(service) + nth
    if nth >= _HTTP_PER_SERVICE or not is_free(port):
        raise PortInUseError(f"{process}'s metrics", port)
    return port


def remembered(names: Sequence[str], file: Path) -> dict[str, int]:
    """Return a port for each name. If all ports in the file are free, return these ports. Otherwise
    return new ports.

    So a pipeline that is restarted in its old folder has the same ports again.
    """
    try:
        found = json.loads(file.read_text())
        before = {name: int(found[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        before = {}
    if before and all(map(is_free, before.values())):
        for port in before.values():
            reserve(port)
        return before
    drawn = dict(zip(names, free_ports(len(names)), strict=True))
    file.write_text(json.dumps(drawn))
    return drawn
