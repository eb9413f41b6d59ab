"""Pools against odd servers, aiosmtpd and Postfix's smtp-sink."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from bench import smtp_sink
from services.deliver.core.attempt.results import Delivered, Outcome
from services.deliver.edge.pool.pools import Pools
from tests.support.patience import PATIENCE_S
from tests.support.pool_talk import CONTENT, pools_to, run, send, with_scripted
from tests.support.scripted_smtp import GOOD, Scripted

# -- odd servers


@pytest.mark.parametrize("has_pipelining", [True, False])
def test_a_server_that_ends_its_replies_with_a_bare_lf_gets_its_mail(has_pipelining: bool) -> None:
    async def test(server: Scripted, pools: Pools) -> list[Outcome]:
        return [await send(pools, f"{number}@d.example") for number in range(2)]

    script = {step: reply.replace(b"\r\n", b"\n") for step, reply in GOOD.items()}
    if not has_pipelining:
        script["EHLO"] = b"250 scripted\n"
    outcomes = with_scripted(lambda number: script, test)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)


# -- foreign servers


class Keeping:
    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.contents.append(envelope.content)
        return "250 2.0.0 Ok"


def test_aiosmtpd_gets_every_byte() -> None:
    keeping = Keeping()
    controller = Controller(keeping, hostname="127.0.0.1", port=smtp_sink.free_port())
    controller.start()
    try:

        async def test() -> list[Outcome]:
            async with pools_to(f"{controller.hostname}:{controller.port}") as pools:
                contents = (CONTENT, b"Subject: LF\n\n.\n..\nx", "Subject: ä\r\n\r\nß\r\n".encode())
                return [await send(pools, "a@d.example", content) for content in contents]

        outcomes = run(test())
    finally:
        controller.stop()
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert keeping.contents == [
        CONTENT,
        b"Subject: LF\r\n\r\n.\r\n..\r\nx\r\n",
        "Subject: ä\r\n\r\nß\r\n".encode(),
    ]


def test_smtp_sink_takes_a_thousand(tmp_path: Path) -> None:
    with smtp_sink.running(tmp_path) as sink:

        async def test() -> list[Outcome]:
            async with pools_to(sink.address) as pools:
                sending = [send(pools, f"{number}@d.example") for number in range(1_000)]
                return await asyncio.gather(*sending)

        outcomes = run(test())
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        sink.wait_for(1_000, PATIENCE_S)
        assert sink.count() == 1_000
