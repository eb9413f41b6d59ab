"""A mail server that stores all mail that it receives, and the pipeline that sends to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from msgspec import Struct

from local.parts import ports
from local.stack import Stack

KEPT_DOMAIN: Final = "kept.example.net"


class KeepingServer:
    """The contents of the messages that arrived, by recipient."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._kept: list[tuple[str, bytes]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        self._kept += [(recipient, content) for recipient in envelope.rcpt_tos]
        return "250 kept"

    def of(self, recipient: str) -> list[bytes]:
        """Return the messages that arrived for this recipient."""
        return [content for found, content in self._kept if found == recipient]


class ReturnedLine(Struct, frozen=True):
    """The pipeline, and the server that receives its mail to KEPT_DOMAIN."""

    stack: Stack
    kept: KeepingServer


@contextmanager
def keeping_server() -> Iterator[KeepingServer]:
    """Serve while the block runs."""
    (port,) = ports.free_ports(1)
    server = KeepingServer(f"{ports.LOOPBACK}:{port}")
    controller = Controller(server, hostname=ports.LOOPBACK, port=port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
