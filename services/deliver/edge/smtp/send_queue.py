"""Asks the kernel how many sent bytes the other side has not acknowledged.

A server that has read everything has acknowledged it, and its reply carries the acknowledgement. So
a reply that comes while something is still unacknowledged was sent before the server, or a proxy
that speaks TCP for it, had everything. Data that such a proxy holds back is not detected.
"""

from __future__ import annotations

import sys
import termios
from fcntl import ioctl
from typing import Any, Final

_NUMBER: Final = b"\0\0\0\0"


def descriptor_of(transport: Any) -> int:
    """Return the descriptor of a transport's socket, -1 without one; valid until it is closed."""
    socket = transport.get_extra_info("socket")
    return socket.fileno() if socket is not None else -1


def unacknowledged_bytes(descriptor: int) -> int:
    """Return the bytes that wait in the kernel for an acknowledgement (Linux: tcp(7), SIOCOUTQ).

    0 if the system does not report them.
    """
    try:
        return int.from_bytes(ioctl(descriptor, termios.TIOCOUTQ, _NUMBER), sys.byteorder)
    except (OSError, ValueError):  # ValueError: there is no socket
        return 0
