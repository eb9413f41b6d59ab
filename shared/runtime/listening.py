"""Opens the listening socket of an HTTP server, for IPv4 or IPv6."""

from __future__ import annotations

import socket


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a host name or IP address; on `::` it takes IPv4 as well.

    Raises OSError if that is not possible.
    """
    if ":" not in host:
        return socket.create_server((host, port))
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=is_dual)


def in_url(host: str) -> str:
    """Return the host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
