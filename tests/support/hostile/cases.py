"""Cases of hostile servers: a dialog of the server, and the outcome of the message sent to it.

Each case sends two messages, one after the other, through pools with one connection. The second
message is sent again until it is delivered. In every case the second message never bounces, for
any reply to the first message. A message that was never in doubt arrives at most once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.results import Bounced, Deferred, Delivered, Outcome
from services.deliver.edge.smtp.connection import Timeouts
from tests.support.certificates import self_signed
from tests.support.hostile.server import (
    GREETING,
    OFFERS,
    Dialog,
    HostileServer,
    hostile,
)
from tests.support.pool_talk import CONTENT, SETTINGS, pools_to, run, send

FIRST: Final = "first@d.example"
SECOND: Final = "second@d.example"
HELLO: Final = (GREETING, "EHLO", OFFERS)
GROUP: Final = ("MAIL", "RCPT", "DATA")
ACCEPTED: Final = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n"
# Only one step has a short time limit, which the dialog exceeds; the other steps must not fail.
GREETING_SHORT: Final = Timeouts(connect_s=60.0, greeting_s=1.0, command_s=60.0, data_s=60.0)
COMMAND_SHORT: Final = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=4.0, data_s=60.0)
COMMAND_LIMITED: Final = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=9.0, data_s=60.0)
DATA_SHORT: Final = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=60.0, data_s=1.0)
# The server accepts the first message within this time, but the second message reaches the limit.
LAST_REPLY_SHORT: Final = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=60.0, data_s=10.0)
LONG: Final = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=60.0, data_s=60.0)


class Ends(Struct, frozen=True):
    """The end of the first message: its kind, and the beginning of the reply ("": no reply)."""

    kind: type[Outcome]
    reply: str = ""
    dispatched: bool = True
    in_doubt: bool = False
    bounce_class: str | None = None  # None: not checked


UNSENT: Final = Ends(Deferred, dispatched=False)
IN_DOUBT: Final = Ends(Deferred, in_doubt=True)
TAKEN: Final = Ends(Delivered, "250")


class Case(Struct, frozen=True):
    """One hostile server. `time_limits` apply to deliver's connections to this server."""

    dialogs: Sequence[Dialog]
    ends: Ends
    time_limits: Timeouts = LONG
    content: bytes = CONTENT
    recipient: str = FIRST
    for_all: bool = False
    uses_chunking: bool = False


def one(*dialog: object, **options: object) -> Case:
    """Return a case with one dialog; the keyword `ends` is required."""
    return Case((dialog,), **options)  # type: ignore[arg-type]


class Met(Struct, frozen=True):
    """The outcomes of both messages, and the commands and contents that the server received."""

    first: Outcome
    second: tuple[Outcome, ...]
    server: HostileServer


def meet_all(cases: dict[str, Case], folder: Path) -> dict[str, Met]:
    """Send to all servers at once."""
    certificate, key = self_signed(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def test() -> dict[str, Met]:
        met = await asyncio.gather(*(_meet(case, tls) for case in cases.values()))
        return dict(zip(cases, met, strict=True))

    return run(test())


async def _meet(case: Case, tls: ssl.SSLContext) -> Met:
    settings = replace(
        SETTINGS,
        max_connections=1,
        timeouts=case.time_limits,
        uses_chunking=case.uses_chunking,
    )
    async with (
        hostile(case.dialogs, tls, for_all=case.for_all) as server,
        pools_to(server.address, settings) as pools,
    ):
        first = await send(pools, case.recipient, case.content)
        second: list[Outcome] = []
        while not case.for_all and not (second and isinstance(second[-1], Delivered)):
            second.append(await send(pools, SECOND))
            await asyncio.sleep(0.02)
        return Met(first, tuple(second), server)


def check(case: Case, met: Met) -> None:
    """Check one case."""
    ends, first = case.ends, met.first
    assert type(first) is ends.kind, first
    assert first.reply.startswith(ends.reply), first
    assert bool(first.reply) == bool(ends.reply), first
    assert len(first.reply) <= 500
    assert first.reply.isprintable()
    if isinstance(first, Bounced | Deferred):
        assert (first.dispatched, first.in_doubt) == (ends.dispatched, ends.in_doubt), first
        assert ends.bounce_class in (None, first.bounce_class), first
        assert first.reason.isprintable()
    assert not met.server.unexpected
    assert not any(isinstance(outcome, Bounced) for outcome in met.second), met.second
    assert met.server.taken.count(case.recipient) <= 1
    may_have = sum(
        isinstance(outcome, Delivered) or (isinstance(outcome, Deferred) and outcome.in_doubt)
        for outcome in met.second
    )
    assert met.server.taken.count(SECOND) <= may_have
