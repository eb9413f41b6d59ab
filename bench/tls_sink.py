"""`python -m bench.tls_sink [CERT KEY]` accepts all mail, over TLS or in clear text, on uvloop.

The sink offers STARTTLS if it has a certificate. (Postfix's smtp-sink has no TLS.) The sink parses
only the beginning of each command and the end of each content. So the sink is cheap, and the
figures compare the senders. When the sink listens, it prints its port.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.smtp_sink import PeerError
from shared.runtime.machine import keep_freed_memory

_END: Final = b"\r\n.\r\n"
_OFFERS: Final = b"250-sink.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"
_OFFERS_TLS: Final = _OFFERS.replace(b"250 SIZE", b"250-STARTTLS\r\n250 SIZE")
_REPLIES: Final = {
    b"DATA": b"354 go\r\n",
    b"STAR": b"220 go\r\n",
    b"QUIT": b"221 bye\r\n",
}
_OK: Final = b"250 2.0.0 ok\r\n"


class _Sink(asyncio.Protocol):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._offers = _OFFERS if context is None else _OFFERS_TLS
        self._transport: Any = None
        self._held = b""
        self._is_content = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if not transport.get_extra_info("sslcontext"):
            self._transport.write(b"220 sink.invalid\r\n")

    def data_received(self, data: bytes) -> None:
        held = self._held + data
        replies = []
        while True:
            end = held.find(_END) if self._is_content else held.find(b"\r\n")
            if end < 0:
                break
            if self._is_content:
                replies.append(_OK)
                self._is_content = False
                held = held[end + len(_END) :]
                continue
            verb = held[:4]
            held = held[end + 2 :]
            replies.append(self._offers if verb == b"EHLO" else _REPLIES.get(verb, _OK))
            self._is_content = verb == b"DATA"
            if verb == b"STAR":
                self._transport.write(b"".join(replies))
                self._task = asyncio.ensure_future(self._start_tls())
                return
        # Keep only the last bytes of the content, because they may be the beginning of the end
        # mark.
        self._held = held[-(len(_END) - 1) :] if self._is_content else held
        if replies:
            self._transport.write(b"".join(replies))

    async def _start_tls(self) -> None:
        assert self._context is not None
        loop = asyncio.get_running_loop()
        self._transport = await loop.start_tls(
            self._transport, self, self._context, server_side=True
        )


async def _serve(*files: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if files else None
    if context is not None:
        context.load_cert_chain(*files)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Sink(context), "127.0.0.1", 0, backlog=1_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running(*files: Path) -> Iterator[str]:
    """Run a sink as a separate process, and yield its address. `files` are a certificate and its
    key. If there are no files, the sink has no TLS."""
    command = [sys.executable, "-m", "bench.tls_sink", *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().decode().strip()
            if not port:
                raise PeerError("the TLS sink did not start")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


if __name__ == "__main__":
    # Without this call, each read of TLS data maps and unmaps memory, which slows down the sender,
    # too.
    keep_freed_memory()
    uvloop.run(_serve(*sys.argv[1:]))
