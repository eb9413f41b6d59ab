"""An SMTP server that follows a dialog step by step, even if the dialog violates SMTP.

A dialog is a tuple of steps: bytes are written unchanged; a word (`"MAIL"`) reads the line that
begins with this word; the other steps are defined below. The connection is closed at the end of
the dialog. If there are more connections than dialogs, the server has no faults for the others.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Final

from msgspec import Struct


class Step(Enum):
    """An action of a server other than reading a command or writing."""

    CONTENT = "read the content up to its dot"
    RESET = "close the connection with a RST"
    HALF_CLOSE = "close our side only"
    HANG = "do nothing until the client has gone"
    NOT_READING = "stop reading, with a small window"
    TLS = "do a handshake as the server"
    SWALLOW = "forget what has come and was not read"
    POLITE = "be a server without faults from here on"


class Slowly(Struct, frozen=True):
    """Write byte by byte."""

    data: bytes
    gap_s: float = 0.0


class Pause(Struct, frozen=True):
    """Wait."""

    seconds: float


class Read(Struct, frozen=True):
    """Read this many bytes of any content."""

    size_bytes: int


class Clear(Struct, frozen=True):
    """Write in clear text, outside of TLS."""

    data: bytes


AnyStep = bytes | str | Step | Slowly | Pause | Read | Clear
Dialog = Sequence[AnyStep]

_RECIPIENT: Final = re.compile(rb"RCPT TO:<([^>]*)>")
_SMALL_WINDOW_BYTES: Final = 4_096
_NO_LINGER: Final = struct.pack("ii", 1, 0)
GREETING: Final = b"220 mx.d.example\r\n"
OFFERS: Final = b"250-mx.d.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n"


class HostileServer:
    """The dialogs by connection, and the received commands and contents."""

    def __init__(
        self, dialogs: Sequence[Dialog], tls: ssl.SSLContext | None, *, for_all: bool
    ) -> None:
        """`for_all`: every connection gets the last dialog."""
        self._dialogs = dialogs
        self._tls = tls
        self._for_all = for_all
        self._talks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.connections = 0
        # The recipients of all contents that were received completely, and of all RCPT commands.
        self.taken: list[str] = []
        self.named: list[str] = []
        # The commands that differ from those of the dialog.
        self.unexpected: list[str] = []

    async def serve(self, sock: socket.socket) -> None:
        """Accept connections; each gets its dialog."""
        loop = asyncio.get_running_loop()
        while True:
            own, _ = await loop.sock_accept(sock)
            self.connections += 1
            number = self.connections - 1
            if number < len(self._dialogs):
                dialog = self._dialogs[number]
            else:
                dialog = self._dialogs[-1] if self._for_all else (Step.POLITE,)
            task = loop.create_task(_Talk(self, own, self._tls).follow(dialog))
            self._talks.add(task)
            task.add_done_callback(self._talks.discard)

    async def end(self) -> None:
        """End all dialogs."""
        for task in list(self._talks):
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)


class _Talk:
    """One connection."""

    def __init__(
        self, server: HostileServer, sock: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        self._server, self._sock, self._context = server, sock, tls
        sock.setblocking(False)
        self._in = bytearray()
        self._recipient = ""
        self._tls: ssl.SSLObject | None = None
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def follow(self, dialog: Dialog) -> None:
        try:
            with suppress(OSError, EOFError):
                for step in dialog:
                    await self._do(step)
        finally:
            self._sock.close()

    async def _do(self, step: AnyStep) -> None:
        match step:
            case bytes():
                await self._write(step)
            case str():
                await self._command(step)
            case Slowly(data, gap_s):
                for byte in data:
                    await self._write(bytes((byte,)))
                    await asyncio.sleep(gap_s)
            case Clear(data):
                await asyncio.get_running_loop().sock_sendall(self._sock, data)
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Read(size_bytes):
                while len(self._in) < size_bytes:
                    self._in += await self._read()
            case Step():
                await self._special(step)

    async def _special(self, step: Step) -> None:
        match step:
            case Step.CONTENT:
                await self._until(b"\r\n.\r\n")
                self._server.taken.append(self._recipient)
            case Step.RESET:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                self._sock.close()
                raise EOFError
            case Step.HALF_CLOSE:
                self._sock.shutdown(socket.SHUT_WR)
            case Step.HANG:
                while True:
                    await self._read()
            case Step.NOT_READING:
                await asyncio.Event().wait()
            case Step.SWALLOW:
                self._in.clear()
            case Step.TLS:
                await self._handshake()
            case Step.POLITE:
                await self._be_polite()

    async def _command(self, verb: str) -> None:
        line = await self._until(b"\r\n")
        if found := _RECIPIENT.match(line):
            self._recipient = found[1].decode()
            self._server.named.append(self._recipient)
        if not line.startswith(verb.encode()):
            self._server.unexpected.append(f"{verb}: {line[:40]!r}")
            raise EOFError

    async def _be_polite(self) -> None:
        await self._write(GREETING)
        while True:
            line = await self._until(b"\r\n")
            if found := _RECIPIENT.match(line):
                self._recipient = found[1].decode()
                self._server.named.append(self._recipient)
            match line[:4]:
                case b"EHLO":
                    await self._write(OFFERS)
                case b"DATA":
                    await self._write(b"354 go\r\n")
                    await self._special(Step.CONTENT)
                    await self._write(b"250 2.0.0 taken\r\n")
                case b"QUIT":
                    await self._write(b"221 bye\r\n")
                    return
                case _:
                    await self._write(b"250 ok\r\n")

    # -- bytes, with or without TLS

    async def _until(self, end: bytes) -> bytes:
        while (found := self._in.find(end)) < 0:
            self._in += await self._read()
        taken = bytes(self._in[: found + len(end)])
        del self._in[: len(taken)]
        return taken

    async def _read(self) -> bytes:
        while True:
            if self._tls is not None:
                with suppress(ssl.SSLWantReadError):
                    if not (clear := self._tls.read(65_536)):
                        raise EOFError
                    return clear
            data = await asyncio.get_running_loop().sock_recv(self._sock, 65_536)
            if not data:
                raise EOFError
            if self._tls is None:
                return data
            self._from_peer.write(data)

    async def _write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            await loop.sock_sendall(self._sock, data)
        else:
            self._tls.write(data)
            await loop.sock_sendall(self._sock, self._to_peer.read())

    async def _handshake(self) -> None:
        assert self._context is not None
        loop = asyncio.get_running_loop()
        tls = self._context.wrap_bio(self._from_peer, self._to_peer, server_side=True)
        self._from_peer.write(bytes(self._in))
        self._in.clear()
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self._sock, self._to_peer.read())
                if not (data := await loop.sock_recv(self._sock, 65_536)):
                    raise EOFError from None
                self._from_peer.write(data)
                continue
            await loop.sock_sendall(self._sock, self._to_peer.read())
            self._tls = tls
            return


@asynccontextmanager
async def hostile(
    dialogs: Sequence[Dialog], tls: ssl.SSLContext | None = None, *, for_all: bool = False
) -> AsyncIterator[HostileServer]:
    """Run such a server on a free port of the loopback address."""
    with socket.socket() as sock:
        # Before listen(): the connections inherit it.
        if any(Step.NOT_READING in dialog for dialog in dialogs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW_BYTES)
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        sock.setblocking(False)
        server = HostileServer(dialogs, tls, for_all=for_all)
        server.address = f"127.0.0.1:{sock.getsockname()[1]}"
        accepting = asyncio.ensure_future(server.serve(sock))
        try:
            yield server
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            await server.end()
