"""`python -m bench.bad_servers`: runs four slow or faulty servers and prints their addresses.

`tarpit` waits 60 s before it answers a command. `busy` answers every connection with 421.
`dropping` closes each connection in the middle of the content. `slow` reads one byte of the content
per second.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

_TARPIT_S: Final = 60.0
# The sizes of the receive buffers of each connection: in the kernel and in the reader. Larger
# buffers would receive much of the content before the server reads it.
_KERNEL_BYTES: Final = 4_096
_READER_BYTES: Final = 1_024
_READ_BEFORE_DROPPING_BYTES: Final = 100
_GREETING: Final = b"220 bad.invalid\r\n"
_OFFERS: Final = b"250-bad.invalid\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_ACCEPTED: Final = b"250 ok\r\n250 ok\r\n354 go\r\n"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _tarpit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_GREETING)
    while line := await reader.readline():
        await asyncio.sleep(_TARPIT_S)
        writer.write(_OFFERS if line.startswith(b"EHLO") else b"250 ok\r\n")


async def _busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"421 4.7.0 too many connections\r\n")


async def _to_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_GREETING)
    await reader.readline()
    writer.write(_OFFERS)
    while (line := await reader.readline()) and not line.startswith((b"DATA", b"QUIT")):
        pass
    writer.write(_ACCEPTED)


async def _dropping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _to_content(reader, writer)
    await reader.readexactly(_READ_BEFORE_DROPPING_BYTES)


async def _slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _to_content(reader, writer)
    while await reader.read(1):  # noqa: ASYNC110 - the loop waits for a time, not for an event
        await asyncio.sleep(1.0)


SERVERS: Final[dict[str, Talk]] = {
    "tarpit": _tarpit,
    "busy": _busy,
    "dropping": _dropping,
    "slow": _slow,
}


async def _start(talk: Talk) -> str:
    """Start a server and return its address."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
    sock.bind(("127.0.0.1", 0))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    await asyncio.start_server(serve, sock=sock, limit=_READER_BYTES)
    return f"127.0.0.1:{sock.getsockname()[1]}"


async def _main() -> None:
    print(json.dumps({name: await _start(talk) for name, talk in SERVERS.items()}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
