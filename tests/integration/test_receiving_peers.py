"""Pools against the mail servers that receive most mail, with and without TLS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.results import Bounced, Delivered, Outcome
from tests.support.patience import PATIENCE_S
from tests.support.pool_talk import SETTINGS, pools_to, run, send
from tests.support.receiving_opensmtpd import opensmtpd
from tests.support.receiving_peers import (
    DOMAIN,
    Peer,
    Place,
    aiosmtpd,
    body,
    exim,
    haraka,
    place,
)
from tests.support.receiving_postfix import postfix
from tests.support.smtp_peers import wait_until

HEADER = (
    b"From: a@news.example.com\r\nTo: x@d.example\r\nSubject: x\r\n"
    b"Date: Mon, 5 Jan 2026 10:00:00 +0000\r\nMessage-ID: <1@news.example.com>\r\n\r\n"
)
# By mailbox; every server must keep each byte of the body.
CONTENTS = {
    "first": HEADER + b".\r\n..\r\n.dot\r\n\r\nend\r\n",
    "second": HEADER.replace(b"\r\n", b"\n") + b"LF only\n.\n\n.x\n",
    "third": HEADER + "8-bit: äöü €\r\n".encode() + b"From the beginning\r\n",
    "large": HEADER + (b"." * 70 + b"\r\n") * 4_200,
}
# One connection: all messages go over it, the refused one included.
ONE = replace(SETTINGS, max_connections=1)


def has_body(peer: Peer, name: str) -> bool:
    return peer.body_of(name) is not None


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("server", [postfix, exim, opensmtpd, haraka, aiosmtpd])
def test_a_peer_gets_every_byte_and_its_refusal_is_understood(
    server: Callable[[Place], AbstractContextManager[Peer]], with_tls: bool
) -> None:
    names = ["first", "unknown", "second", "third", "large"]
    with place(with_tls=with_tls) as at, server(at) as peer:
        # OpenSMTPD 6.8 with OpenSSL 3 ends each handshake with an error: mail goes without TLS.
        takes_tls = peer.takes_tls()
        assert takes_tls is with_tls or server is opensmtpd

        async def test() -> list[Outcome]:
            async with pools_to(peer.address, ONE) as pools:
                return [
                    await send(pools, f"{name}@{DOMAIN}", CONTENTS.get(name, CONTENTS["first"]))
                    for name in names
                ]

        outcomes = dict(zip(names, run(test()), strict=True))
        refused = outcomes.pop("unknown")
        assert isinstance(refused, Bounced)
        assert (refused.reply[:3], refused.bounce_class) == ("550", "hard")
        for name, outcome in outcomes.items():
            assert isinstance(outcome, Delivered), outcome
            assert bool(outcome.tls) is takes_tls
            wait_until(partial(has_body, peer, name), name, PATIENCE_S)
            assert peer.body_of(name) == body(CONTENTS[name])
