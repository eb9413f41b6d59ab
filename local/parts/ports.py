"""Finds free ports on the loopback interface.

They are below the range that the kernel uses for outgoing connections: a part that is stopped and
restarted must find its port free.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_LOWEST: Final = 20_000
_HIGHEST: Final = 32_000  # Linux uses 32768 and above for outgoing connections
_TRIES: Final = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Find `count` different free ports, at random so that two pipelines do not collide.

    `taken`: ports found earlier whose owners do not listen yet.
    """
    draw = random.SystemRandom()
    found: list[int] = []
    for _ in range(_TRIES * count):
        port = draw.randrange(_LOWEST, _HIGHEST)
        if port not in found and port not in taken and is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports between {_LOWEST} and {_HIGHEST}")


def remembered(names: Sequence[str], file: Path) -> dict[str, int]:
    """A port for each name: those in the file if all of them are still free, else new ones.

    A pipeline that is restarted in its old folder thus keeps its ports.
    """
    try:
        found = json.loads(file.read_text())
        before = {name: int(found[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        before = {}
    if before and all(map(is_free, before.values())):
        return before
    drawn = dict(zip(names, free_ports(len(names)), strict=True))
    file.write_text(json.dumps(drawn))
    return drawn
