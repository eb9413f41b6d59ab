"""Runs aiosmtpd with a handler that discards the mail, for comparison with the front door.

The peer runs on asyncio's default loop or on uvloop, which is faster. Either the peer works in
plain text without a login, or it requires STARTTLS and then AUTH before MAIL, as the front door
does. The peer accepts every password.

    python -m bench.front_door_peer 127.0.0.1:2525    prints `ready`, then serves until SIGTERM
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from typing import Any

import click
import uvloop
from aiosmtpd.smtp import SMTP, AuthResult


class _NoOp:
    """A handler that accepts all mail and stores nothing."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return "250 OK"


def _let_in(*_: Any) -> AuthResult:
    return AuthResult(success=True)


async def _serve(address: str, options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    host, _, port = address.rpartition(":")
    server = await loop.create_server(
        lambda: SMTP(_NoOp(), hostname="peer.bench.example", loop=loop, **options),
        host,
        int(port),
        backlog=1_024,
    )
    print("ready", flush=True)
    await stopped.wait()
    server.close()


@click.command()
@click.argument("address")
@click.option("--uvloop", "on_uvloop", is_flag=True)
@click.option("--tls", nargs=2, help="Certificate and key; also makes a login mandatory.")
def main(address: str, *, on_uvloop: bool, tls: tuple[str, str] | None) -> None:
    """Serve at ADDRESS."""
    logging.disable(logging.WARNING)  # aiosmtpd still uses an attribute that it has deprecated
    options: dict[str, Any] = {}
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
        options = {"tls_context": context, "auth_required": True, "authenticator": _let_in}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        runner.run(_serve(address, options))


if __name__ == "__main__":
    main()
