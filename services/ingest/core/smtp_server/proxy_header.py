"""Parses the PROXY protocol v2 header, in which a proxy passes on the client's address. This module
does no I/O.

This module parses only the bytes of the header. The trusted proxies are listed in the setting
`ingest.smtp_proxies`, and the socket is read by edge/smtp_server/listener.py.

The code that reads from the socket must request exactly `More.missing_bytes` and not one byte more.
Then the data after the header is left in the socket for the code that reads this data. This data
may be a ClientHello in the same TCP segment.

A header of version 1 is refused. It is a line of text whose length is not known in advance, so it
could only be read byte by byte. Every proxy that supports version 1 today also supports version 2.
TLVs are ignored, because they are not used here. No exception is raised, no matter which data a
peer sends. The protocol is described in
https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from msgspec import Struct

from services.ingest.core.smtp_server.rates import plain_address

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_BYTES: Final = 16
# The highest permitted size of the addresses and TLVs. The longest addresses (of a UNIX socket)
# take 216 bytes. A proxy may add a client certificate or a connection id as TLVs. No proxy needs
# more than this size.
MAX_VARIABLE_BYTES: Final = 4_096

_VERSION_1: Final = b"PROXY "
_VERSION: Final = 2
_LOCAL, _PROXY = 0x0, 0x1
_TCP4, _TCP6 = 0x11, 0x21
# Maps each address family to the length of the source address, which comes first, and to the length
# of both addresses with their ports.
_LENGTHS: Final = {_TCP4: (4, 12), _TCP6: (16, 36)}
_UNUSABLE: Final = {
    0x00: "a connection of unknown family (AF_UNSPEC)",
    0x12: "UDP",
    0x22: "UDP",
    0x31: "a UNIX socket",
    0x32: "a UNIX socket",
}


class More(Struct, frozen=True):
    """The header is incomplete; at least `missing_bytes` more bytes are needed."""

    missing_bytes: int


class Proxied(Struct, frozen=True):
    """The proxy passes on a connection from this address. The address has the form of
    plain_address()."""

    address: str


class Local(Struct, frozen=True):
    """The proxy connects on its own behalf, for example for a health check."""


class Fault(Struct, frozen=True):
    """The data is not a usable header."""

    reason: str


def parse(data: bytes) -> More | Proxied | Local | Fault:
    """Parse a header at the beginning of a connection's data."""
    if len(data) < len(_VERSION_1) and _VERSION_1.startswith(data):
        return More(FIXED_BYTES - len(data))
    if data.startswith(_VERSION_1):
        return Fault("a header of PROXY version 1; have the proxy send version 2 (send-proxy-v2)")
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        return Fault("no header of PROXY version 2 (send-proxy-v2)")
    if len(data) < FIXED_BYTES:
        return More(FIXED_BYTES - len(data))
    version, command = data[12] >> 4, data[12] & 0xF
    size = int.from_bytes(data[14:FIXED_BYTES], "big")
    if version != _VERSION:
        return Fault(f"PROXY version {version}; version 2 is supported")
    if command not in (_LOCAL, _PROXY):
        return Fault(f"PROXY command {command}; LOCAL (0) and PROXY (1) are supported")
    if size > MAX_VARIABLE_BYTES:
        return Fault(f"{size} bytes of addresses and TLVs; {MAX_VARIABLE_BYTES} are allowed")
    if command == _PROXY and (fault := _judge_family(data[13], size)) is not None:
        return fault
    if len(data) < FIXED_BYTES + size:
        return More(FIXED_BYTES + size - len(data))
    return Local() if command == _LOCAL else _source(data)


def _judge_family(family: int, size: int) -> Fault | None:
    if family not in _LENGTHS:
        return Fault(
            f"{_UNUSABLE.get(family, f'family {family:#04x}')}; TCP over IPv4 or IPv6 is accepted"
        )
    needed = _LENGTHS[family][1]
    return Fault(f"{size} bytes of addresses; {needed} are needed") if size < needed else None


def _source(data: bytes) -> Proxied:
    length = _LENGTHS[data[13]][0]
    address = ipaddress.ip_address(data[FIXED_BYTES : FIXED_BYTES + length])
    return Proxied(plain_address(str(address)))
