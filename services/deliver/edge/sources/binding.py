"""Binds sockets to a source address.

Owns: telling a fault of the address from one of the process. Guarantees: a socket is never
connected from another address than the one that was asked for.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Final

# linux/in.h; socket has the name from Python 3.12 on.
_IP_BIND_ADDRESS_NO_PORT: Final = 24
# What concerns the address; the rest (no file descriptors left) concerns the process.
_OF_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT)


class SourceUnavailable(OSError):
    """A socket could not be bound to a source."""


def bind(sock: socket.socket, local_ip: str) -> None:
    """Bind a socket to a local address; the system chooses the port when it connects.

    Raises SourceUnavailable.
    """
    if sys.platform == "linux":
        # Otherwise a port that one connection has is taken for all destinations: 28,000 in all.
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((local_ip, 0))
    except OSError as error:
        if error.errno in _OF_ADDRESS:
            raise SourceUnavailable(error.errno, f"{local_ip}: {error.strerror}") from None
        raise


def bind_fault(local_ip: str) -> str:
    """Why no socket can be bound to this address; "" if one can."""
    family = socket.AF_INET6 if ":" in local_ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            bind(sock, local_ip)
    except SourceUnavailable as error:
        return str(error.strerror)
    except OSError as error:
        # The address family is missing; without file descriptors nothing is known.
        return str(error.strerror) if error.errno == errno.EAFNOSUPPORT else ""
    return ""
