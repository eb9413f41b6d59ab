"""A small SMTP server in the test's loop that follows a script, even an invalid one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

CLOSE = b"close"  # instead of a reply: disconnect
SILENT = b""  # no reply

# Maps a step (greeting, EHLO, MAIL, RCPT, DATA, dot, BDAT, RSET, QUIT, STARTTLS) to the reply.
Script = Mapping[str, bytes]
GOOD: Script = {
    "greeting": b"220 scripted\r\n",
    "EHLO": b"250-scripted\r\n250 PIPELINING\r\n",
    "HELO": b"250 scripted\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 go\r\n",
    "dot": b"250 2.0.0 Ok\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


class Scripted:
    """The events at the server, and its script by connection number (from 1)."""

    def __init__(self, script_of: Callable[[int], Script]) -> None:
        self.script_of = script_of
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.said: list[list[str]] = []  # commands by connection
        self.hellos: list[tuple[str, str]] = []  # the address of each client, its name in EHLO
        self.contents: list[bytes] = []
        self.address = ""
        self.may_answer = asyncio.Event()  # the command in `waits` is answered after this event
        self.read_on = asyncio.Event()  # `reads: SILENT` waits for this
        self.read_bytes = 0  # after that
        self._writers: set[asyncio.StreamWriter] = set()

    def close_all(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        said: list[str] = []
        self.said.append(said)
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._talk(reader, writer, {**GOOD, **self.script_of(self.connections)})
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _wait_for_word_or_end(self, reader: asyncio.StreamReader) -> None:
        word = asyncio.ensure_future(self.may_answer.wait())
        end = asyncio.ensure_future(reader.read(1))
        await asyncio.wait((word, end), return_when=asyncio.FIRST_COMPLETED)
        word.cancel()
        end.cancel()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Script
    ) -> None:
        said = self.said[-1]
        writer.write(script["greeting"])
        if script["greeting"] == CLOSE:
            return
        while line := await reader.readline():
            verb = line[:4].decode().upper().strip()
            verb = "STARTTLS" if verb == "STAR" else verb
            said.append(verb)
            if verb == "EHLO":
                peer = writer.get_extra_info("peername")[0]
                self.hellos.append((peer, line[5:].decode().strip()))
            # "MAIL2": the reply to the second MAIL of a connection.
            answer = script.get(f"{verb}{said.count(verb)}", script.get(verb, b"500 what\r\n"))
            if answer == CLOSE:
                return
            if script.get("waits") == verb.encode():
                await self._wait_for_word_or_end(reader)
            if verb == "BDAT" and script.get("EHLO", b"").find(b"CHUNKING") >= 0:
                self.contents.append(await reader.readexactly(int(line.split()[1])))
            writer.write(answer)
            if verb == "QUIT":
                return
            if verb == "DATA" and answer.startswith(b"354"):
                if script.get("reads") == SILENT:
                    await self.read_on.wait()
                    while data := await reader.read(65_536):
                        self.read_bytes += len(data)
                    return
                content = await reader.readuntil(b"\r\n.\r\n")
                self.contents.append(content[:-3])
                said.append("dot")
                if script["dot"] == CLOSE:
                    return
                writer.write(script["dot"])


@asynccontextmanager
async def scripted(
    script_of: Callable[[int], Script], ip: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Scripted]:
    """Run such a server, on a free port if it is 0."""
    server = Scripted(script_of)
    listening = await asyncio.start_server(server.serve, ip, port)
    host, port, *_ = listening.sockets[0].getsockname()
    server.address = f"{host}:{port}"
    try:
        yield server
    finally:
        listening.close()
