"""Checks whether another part can be reached at all, before a client is created for it."""

from __future__ import annotations

import socket


def answers(address: str, timeout_s: float = 0.5) -> bool:
    """Whether a server accepts connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s):
            return True
    except (OSError, ValueError):
        return False
