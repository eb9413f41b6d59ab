"""Pools against servers that want fewer connections."""

from __future__ import annotations

import asyncio

import pytest

from services.deliver.core.attempt.results import Deferred, Delivered, Outcome
from services.deliver.edge.pool.pools import Pools
from tests.support.pool_talk import SETTINGS, send, with_scripted
from tests.support.scripted_smtp import CLOSE, GOOD, Script, Scripted

BURST = 200
PATIENCE_S = 3.0
REFUSED: Script = {"greeting": b"421 4.7.0 too many connections\r\n", "EHLO": CLOSE, "HELO": CLOSE}


def was_turned_away(outcome: Outcome) -> bool:
    return isinstance(outcome, Deferred) and outcome.waits_s is not None


def test_a_server_that_takes_two_connections_gets_all_the_mail_of_each_burst() -> None:
    servers: list[Scripted] = []

    def script_of(number: int) -> Script:
        return REFUSED if servers[0].open > 2 else GOOD

    async def test(server: Scripted, pools: Pools) -> list[int]:
        servers.append(server)
        connections = []
        for burst in range(5):
            sending = [send(pools, f"{burst}.{number}@d.example") for number in range(BURST)]
            outcomes = await asyncio.gather(*sending)
            assert [o for o in outcomes if not isinstance(o, Delivered)] == []
            connections.append(server.connections)
        return connections

    connections = with_scripted(script_of, test)
    refused = connections[0] - 2
    assert refused <= SETTINGS.max_connections, "the first time"
    used = 5 * BURST / SETTINGS.max_messages_per_connection
    assert connections[-1] - connections[0] <= used + 5, "the limit is known"


@pytest.mark.parametrize(
    "script",
    [
        {"MAIL": b"421 4.7.0 later\r\n", "RCPT": CLOSE},
        {"RCPT": b"421 4.7.0 later\r\n", "DATA": CLOSE},
        {"dot": b"421 4.7.0 later\r\n", "MAIL2": CLOSE},
        {"MAIL": CLOSE},
        {"dot": CLOSE},
    ],
    ids=["421 to MAIL", "421 to RCPT", "421 to the dot", "hang-up at MAIL", "hang-up at the dot"],
)
def test_a_server_that_pushes_back_is_left_alone_for_a_while(script: Script) -> None:
    async def test(server: Scripted, pools: Pools) -> tuple[int, int]:
        sending = [
            asyncio.ensure_future(send(pools, f"{number}@d.example")) for number in range(BURST)
        ]
        done, waiting = await asyncio.wait(sending, timeout=PATIENCE_S)
        for task in waiting:
            task.cancel()
        offered = [task for task in done if not was_turned_away(task.result())]
        return server.connections, len(offered)

    connections, offered = with_scripted(lambda number: script, test)
    assert connections <= SETTINGS.max_connections + PATIENCE_S, "one at a time after a pause"
    assert offered <= connections, "the rest of the mail waits, or gets a later turn"
