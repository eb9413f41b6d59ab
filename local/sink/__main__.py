"""`python -m local.sink`: an SMTP server that plays the recipients' mail servers.

Owns: listening, the state file, stopping. The exit code is 0 after SIGTERM and SIGINT. Journal
lines that were written are not lost, even if the process is killed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import uvloop
from msgspec import Struct

from local.sink.behaviour import Behaviour
from local.sink.connection import Policy, SinkConnection
from local.sink.journal import Journal
from local.sink.reports import Returning
from shared.settings.addresses import listening_fault, split_address
from shared.smtp.extensions import all_but_auth
from shared.smtp.server.dialog import ServerOptions

# The limit is larger than any message of Sluice, so the sink refuses no message for its size.
MAX_CONTENT_BYTES: Final = 10_485_760
_BACKLOG: Final = 1_024
_PART_AWAY: Final = 3


class State(Struct, frozen=True):
    """The content of the state file, which is written as soon as the sink listens."""

    address: str


class Options(Struct, frozen=True):
    """The command's options."""

    listen: str
    journal: Path | None
    state: Path | None
    behaviour: str
    idle_timeout: float
    tls_cert: Path | None
    tls_key: Path | None
    returns_to: str


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    help="Listen here (host:port); port 0 means any free port.",
)
@click.option("--journal", type=click.Path(path_type=Path), help="Append each answer to this file.")
@click.option("--state", type=click.Path(path_type=Path), help="Write the address to this file.")
@click.option(
    "--behaviour",
    type=click.Choice(["demo", "accept"]),
    default="demo",
    show_default=True,
    help="demo: the recipient's address determines the answer (local/sink/behaviour.py). accept: "
    "all mail is accepted.",
)
@click.option(
    "--idle-timeout",
    default=0.0,
    help="Send a 421 to a client that is idle for this many seconds; 0 means never.",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, exists=True),
    help="Offer STARTTLS with this certificate.",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path, exists=True),
    help="File with the key of the certificate.",
)
@click.option(
    "--returns-to",
    default="",
    metavar="HOST:PORT",
    help="Send delivery reports and complaints to this server (local/sink/behaviour.py).",
)
def main(**given: Any) -> None:
    """Receive mail and log each answer to a journal."""
    options = Options(**given)
    if fault := listening_fault(options.listen):
        found = f"{options.listen!r} is not host:port: {fault}"
        raise click.BadParameter(found, param_hint="--listen")
    host, port = split_address(options.listen)
    with Journal(options.journal) as journal:
        policy = Policy(
            _server_options(options.tls_cert is not None),
            Behaviour(),
            journal,
            is_smart=options.behaviour == "demo",
            idle_timeout_s=options.idle_timeout,
            tls=_context(options.tls_cert, options.tls_key),
            returning=Returning(options.returns_to) if options.returns_to else None,
        )
        try:
            uvloop.run(serve(policy, host, port, options.state))
        except OSError as error:
            print(f"sink: cannot listen on {options.listen}: {error}", file=sys.stderr)
            sys.exit(_PART_AWAY)


def _server_options(has_tls: bool) -> ServerOptions:
    offered = all_but_auth(starttls=has_tls)
    return ServerOptions("sink.invalid", offered, MAX_CONTENT_BYTES)


def _context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def serve(policy: Policy, host: str, port: int, state: Path | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connections: set[SinkConnection] = set()
    server = await loop.create_server(
        lambda: SinkConnection(policy, connections), host, port, backlog=_BACKLOG
    )
    _tell(server.sockets[0], state)
    sending = loop.create_task(policy.returning.run()) if policy.returning is not None else None
    gc.freeze()  # All current objects live as long as the process.
    await stop.wait()
    server.close()
    if sending is not None:
        sending.cancel()
    for connection in list(connections):
        connection.close()


def _tell(sock: socket.socket, state: Path | None) -> None:
    host, port = sock.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    told = msgspec.json.encode(State(address))
    if state is None:
        print(told.decode(), flush=True)
        return
    # The file is written atomically, because other processes wait for it.
    draft = state.with_name(f"{state.name}.{os.getpid()}")
    draft.write_bytes(told)
    draft.replace(state)


if __name__ == "__main__":
    main()
