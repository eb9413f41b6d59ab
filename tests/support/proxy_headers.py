"""Builds valid and invalid headers of the PROXY protocol, version 2."""

from __future__ import annotations

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4, TCP6 = 0x11, 0x21


def header(family: int, block: bytes, command: int = 1, version: int = 2) -> bytes:
    return SIGNATURE + struct.pack("!BBH", version << 4 | command, family, len(block)) + block


def addresses(source: str, target: str = "192.0.2.25") -> bytes:
    return (
        ipaddress.ip_address(source).packed
        + ipaddress.ip_address(target).packed
        + struct.pack("!HH", 51_000, 25)
    )


def told(source: str) -> bytes:
    """Return the header for a TCP connection from this IPv4 address."""
    return header(TCP4, addresses(source))


LOCAL = header(0x00, b"", command=0)
VERSION_1 = b"PROXY TCP4 198.51.100.7 192.0.2.25 51000 25\r\n"
