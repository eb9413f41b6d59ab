"""Servers that refuse the connection: the outcome of the message, and the QUIT."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.results import Deferred, Outcome
from services.deliver.edge.pool.pools import Pools
from tests.support.pool_talk import patience_with, send, until, with_scripted
from tests.support.scripted_smtp import CLOSE, SILENT, Script, Scripted


@pytest.mark.parametrize(
    ("script", "bounce_class"),
    [
        ({"greeting": b"554 5.7.1 blocked\r\n"}, "policy"),
        ({"greeting": b"421 4.7.0 too many connections\r\n"}, "policy"),
        ({"EHLO": b"550 no\r\n", "HELO": b"550 no\r\n"}, "policy"),
        ({"greeting": CLOSE}, "network"),
        ({"greeting": SILENT}, "network"),
        ({"greeting": b"hello\r\n"}, "network"),
        ({"EHLO": CLOSE}, "network"),
        ({"EHLO": SILENT}, "network"),
    ],
)
def test_a_server_that_turns_us_away_defers_whatever_it_says(
    script: Script, bounce_class: str
) -> None:
    async def test(server: Scripted, pools: Pools) -> Outcome:
        return await send(pools, "a@d.example")

    outcome = with_scripted(lambda number: script, test, patience_with(script))
    assert isinstance(outcome, Deferred)
    assert (outcome.dispatched, outcome.bounce_class) == (False, bounce_class)


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ({"greeting": b"554 5.7.1 blocked\r\n"}, ["QUIT"]),
        ({"greeting": b"450 4.7.1 later\r\n"}, ["QUIT"]),
        ({"greeting": b"554 5.7.1 blocked\r\n", "QUIT": SILENT}, ["QUIT"]),
        ({"greeting": b"554 5.7.1 blocked\r\n", "QUIT": CLOSE}, ["QUIT"]),
        ({"EHLO": b"550 no\r\n", "HELO": b"550 no\r\n"}, ["EHLO", "HELO", "QUIT"]),
        # Not after 421, a protocol error or a time-out.
        ({"greeting": b"421 4.3.2 closing\r\n"}, []),
        ({"greeting": b"hello\r\n"}, []),
        ({"greeting": b"250 what\r\n"}, []),
        ({"greeting": SILENT}, []),
        ({"EHLO": b"421 4.3.2 closing\r\n", "HELO": b"421 no\r\n"}, ["EHLO"]),
        ({"EHLO": SILENT}, ["EHLO"]),
    ],
)
def test_a_server_that_refuses_the_connection_hears_quit(
    script: Script, commands: list[str]
) -> None:
    async def test(server: Scripted, pools: Pools) -> list[str]:
        await send(pools, "a@d.example")
        await until(lambda: server.open == 0)
        return server.said[0]

    assert with_scripted(lambda number: script, test, patience_with(script)) == commands


def test_nobody_waits_for_the_reply_to_a_quit_after_a_refusal() -> None:
    async def test(server: Scripted, pools: Pools) -> int:
        await send(pools, "a@d.example")
        await until(lambda: server.said[0] == ["QUIT"])
        return server.open

    script = {"greeting": b"554 no\r\n", "waits": b"QUIT"}
    assert with_scripted(lambda number: script, test) == 1
