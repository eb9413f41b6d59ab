"""The part of a smart host that answers AUTH, and attempts to log in there in virtual time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import aiosmtplib

from services.deliver.core.attempt.results import NoLogin, TransactionResult
from services.deliver.core.routing.sites import site_of_target
from services.deliver.edge.smtp.logins import LoginRefused, Logins
from tests.support.virtual_loop import VirtualLoop

HOST = site_of_target("relay.example:587").hosts[0]
LIMIT_S = 30.0


def write(folder: Path, password: str) -> Path:
    path = folder / "logins.toml"
    path.with_suffix(".new").write_text(
        f'["relay.example:587"]\nuser = "us"\npassword = "{password}"\n'
    )
    path.with_suffix(".new").replace(path)
    return path


class Server:
    """The client's login code, with the answers of a server."""

    def __init__(self, *replies: tuple[int, str], auth: str = "AUTH PLAIN LOGIN") -> None:
        self._replies = list(replies)
        self.last_ehlo_response = aiosmtplib.SMTPResponse(250, f"relay\n{auth}")
        self.tried: list[tuple[str, bytes]] = []
        self.slow_s = 1.0
        self._questions: list[str] = []

    async def execute_command(self, *words: bytes, **_: Any) -> aiosmtplib.SMTPResponse:
        match words:
            case (b"AUTH", b"PLAIN", response):
                return await self._answer("PLAIN", base64.b64decode(response).split(b"\0")[2])
            case (b"AUTH", b"LOGIN"):
                self._questions = ["VXNlcm5hbWU6", "UGFzc3dvcmQ6"]
            case (response,):
                self._questions.pop(0)
                if not self._questions:
                    return await self._answer("LOGIN", base64.b64decode(response))
        return aiosmtplib.SMTPResponse(334, self._questions[0])

    async def _answer(self, mechanism: str, password: bytes) -> aiosmtplib.SMTPResponse:
        self.tried.append((mechanism, password))
        await asyncio.sleep(self.slow_s)
        code, text = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if code == 0:
            raise aiosmtplib.SMTPServerDisconnected(text)
        return aiosmtplib.SMTPResponse(code, text)


async def try_login(logins: Logins, server: Server) -> NoLogin | None:
    try:
        await logins.log_in(cast(aiosmtplib.SMTP, server), HOST, logins.of(HOST), LIMIT_S)
    except LoginRefused as error:
        return error.fault
    return None


def run(test: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(test(loop))
    finally:
        loop.close()


def transactions(logins: Logins, *ends: TransactionResult) -> None:
    """End the transactions of a connection that has logged in."""
    ended = logins.watch(HOST, logins.of(HOST))
    assert ended is not None
    for end in ends:
        ended(end)
