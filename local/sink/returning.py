"""Sends reports back by SMTP, to the server that takes mail for the sending domains.

Owns: the queue and its one task. A report is tried a few times, since the server may be starting or
stopped on purpose, and then dropped: the sink goes on.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from typing import Final

from msgspec import Struct

from local.sink.reports import Report, compose
from shared.settings.addresses import split_address

MAX_WAITING: Final = 10_000
_TRIES: Final = 30
_RETRY_S: Final = 1.0
_TIMEOUT_S: Final = 20.0


class Outgoing(Struct, frozen=True):
    """A report, and the return path that it goes to."""

    return_path: str
    content: bytes


class Returning:
    """Sends reports to one server, one after the other; used on the event loop."""

    def __init__(self, address: str) -> None:
        self._host, self._port = split_address(address)
        self._waiting: asyncio.Queue[Outgoing] = asyncio.Queue(MAX_WAITING)

    def add(self, report: Report, return_path: str, recipient: str, content: bytes) -> None:
        """Send a report soon; without a return path, or with too many waiting, it is dropped."""
        if return_path and not self._waiting.full():
            made = compose(report, return_path, recipient, content)
            self._waiting.put_nowait(Outgoing(return_path, made))

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            outgoing = await self._waiting.get()
            for _ in range(_TRIES):
                try:
                    await asyncio.to_thread(self._send, outgoing)
                    break
                except smtplib.SMTPRecipientsRefused as refused:
                    print(f"sink: a report was refused: {refused}", file=sys.stderr, flush=True)
                    break
                except (OSError, smtplib.SMTPException):
                    await asyncio.sleep(_RETRY_S)

    def _send(self, outgoing: Outgoing) -> None:
        with smtplib.SMTP(self._host, self._port, "sink.invalid", _TIMEOUT_S) as session:
            session.sendmail("", [outgoing.return_path], outgoing.content)
