"""Servers that answer the content before they have all of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.deliver.core.attempt.results import Bounced, Deferred, Outcome
from tests.support.pool_talk import CONTENT, pools_to, run, send

# More than the server's buffers take, less than those of the sender's kernel.
LARGE = CONTENT + b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * 3_600


class Early:
    """A server that reads a little of each content, answers, and reads no more."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self.connections = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 early\r\n")
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(b"354 go\r\n" if line == b"DATA\r\n" else b"250 Ok\r\n")
                if line == b"DATA\r\n":
                    await reader.readexactly(2_000)
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    writer.write(self._reply)
        writer.close()


@asynccontextmanager
async def early(reply: bytes) -> AsyncIterator[Early]:
    server = Early(reply)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    listening.bind(("127.0.0.1", 0))
    serving = await asyncio.start_server(server.serve, sock=listening, limit=2_048)
    server.address = "{}:{}".format(*listening.getsockname())
    try:
        yield server
    finally:
        serving.close()


@pytest.mark.parametrize(
    ("reply", "kind", "in_doubt"),
    [
        (b"250 2.0.0 got it\r\n", Deferred, True),
        (b"451 4.3.0 not now\r\n", Deferred, False),
        (b"552 5.3.4 too large\r\n", Bounced, False),
    ],
)
def test_a_server_that_claims_what_it_has_not_read_has_not_got_it(
    reply: bytes, kind: type[Outcome], in_doubt: bool
) -> None:
    async def test() -> tuple[Outcome, int]:
        async with early(reply) as server, pools_to(server.address) as pools:
            first = await send(pools, "a@d.example", LARGE)
            await send(pools, "b@d.example", LARGE)
            return first, server.connections

    outcome, connections = run(test())
    assert isinstance(outcome, kind)
    assert getattr(outcome, "in_doubt", False) is in_doubt
    assert connections == 2  # what is left of the first content stands before the second message
