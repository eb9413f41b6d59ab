"""Finds free ports on the loopback interface.

They are below the range that the kernel uses for outgoing connections: a part that is stopped and
restarted must find its port free. A port that was drawn is reserved for this process until it ends,
so that no other pipeline draws it before its server listens, or while it is restarted. The
reservation is a lock on one byte of a file that all processes of a user share; the kernel releases
it if the process is killed.
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
_HIGHEST: Final = 32_000  # Linux uses 32768 and above for outgoing connections
_TRIES: Final = 200
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


@functools.cache
def _reservations() -> BinaryIO:
    # Open until this process ends: closing it would release all its locks.
    file = Path(tempfile.gettempdir()) / f"sluice-ports-{os.getuid()}"
    return os.fdopen(os.open(file, _FLAGS, 0o600), "r+b", buffering=0)


def reserve(port: int) -> bool:
    """Keep other processes from drawing this port; return False if one of them has drawn it."""
    file = _reservations()
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def release() -> None:
    """Let other processes draw the ports that this one has reserved."""
    fcntl.lockf(_reservations(), fcntl.LOCK_UN)


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Find `count` different free ports, at random so that two pipelines do not collide.

    `taken`: ports found earlier whose owners do not listen yet.
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


# The offsets of the ports of `./sluice up` from its base port, which stay from one start to the
# next. The services' HTTP ports follow from _FIRST_HTTP on, ten for each service.
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
    """A port that must be the same each time belongs to another program."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(f"port {port}, for {name}, is used by another program")


def fixed_ports(names: Sequence[str], base: int) -> dict[str, int]:
    """The port of each name. Raises PortInUseError for the first that is not free."""
    found = {name: base + _OFFSETS[name] for name in names}
    for name, port in found.items():
        if not is_free(port):
            raise PortInUseError(name, port)
    return found


def fixed_http_port(services: Sequence[str], process: str, base: int) -> int:
    """The HTTP port of a process: `deliver`, `deliver-2`. Raises PortInUseError."""
    service, _, number = process.partition("-")
    nth = int(number or 1) - 1
    port = base + _FIRST_HTTP + _HTTP_PER_SERVICE * services.index(service) + nth
    if nth >= _HTTP_PER_SERVICE or not is_free(port):
        raise PortInUseError(f"{process}'s metrics", port)
    return port


def remembered(names: Sequence[str], file: Path) -> dict[str, int]:
    """A port for each name: the ports in the file if all of them are still free, else new ports.

    A pipeline that is restarted in its old folder thus keeps its ports.
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
