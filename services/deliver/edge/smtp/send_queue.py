"""Asks the kernel how many sent bytes the other side has not acknowledged.

A server that has read all data acknowledges the data at the latest together with its reply. So if a
reply arrives while some data is still unacknowledged, the reply was sent before the server had all
data. If a proxy ends the TCP connection for the server, the number only shows what the proxy has
not acknowledged. It does not show the data that the proxy has not passed on to the server.
"""

from __future__ import annotations

import sys
import termios
from fcntl import ioctl
from typing import Any, Final

_NUMBER: Final = b"\0\0\0\0"


def descriptor_of(transport: Any) -> int:
    """Return the descriptor of a transport's socket, valid until the socket is closed.

    The result is -1 if there is no socket.
    """
    socket = transport.get_extra_info("socket")
    return socket.fileno() if socket is not None else -1


def unacknowledged_bytes(descriptor: int) -> int:
    """Return the bytes that wait in the kernel for an acknowledgement (Linux: tcp(7), SIOCOUTQ).

    The result is 0 if the system does not report these bytes.
    """
    try:
        return int.from_bytes(ioctl(descriptor, termios.TIOCOUTQ, _NUMBER), sys.byteorder)
    except (OSError, ValueError):  # ValueError: there is no socket
        return 0
