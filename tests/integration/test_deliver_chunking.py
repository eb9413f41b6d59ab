"""Servers that offer CHUNKING, and those that offer it and do not know BDAT."""

from __future__ import annotations

from msgspec.structs import replace

from services.deliver.core.attempt.results import Delivered, Outcome
from services.deliver.edge.pool.pools import Pools
from tests.support.pool_talk import CONTENT, SETTINGS, send, with_scripted
from tests.support.scripted_smtp import Script, Scripted

CHUNKING = replace(SETTINGS, uses_chunking=True)
EHLO = b"250-scripted\r\n250-CHUNKING\r\n250 PIPELINING\r\n"


def test_content_goes_as_one_chunk_with_its_dots_as_they_are() -> None:
    async def test(server: Scripted, pools: Pools) -> list[Outcome]:
        outcomes = [await send(pools, f"{number}@d.example") for number in range(3)]
        assert server.contents == [CONTENT] * 3
        assert server.said == [["EHLO", *["MAIL", "RCPT", "BDAT"] * 3]]
        return outcomes

    script: Script = {"EHLO": EHLO, "BDAT": b"250 2.0.0 Ok\r\n"}
    outcomes = with_scripted(lambda number: script, test, CHUNKING)
    assert all(isinstance(each, Delivered) for each in outcomes)


def test_a_server_that_refuses_bdat_gets_the_same_message_by_data_at_once() -> None:
    async def test(server: Scripted, pools: Pools) -> list[Outcome]:
        outcomes = [await send(pools, "a@d.example"), await send(pools, "b@d.example")]
        assert server.said == [
            ["EHLO", "MAIL", "RCPT", "BDAT"],
            ["EHLO", *["MAIL", "RCPT", "DATA", "dot"] * 2],
        ]
        return outcomes

    outcomes = with_scripted(lambda number: {"EHLO": EHLO}, test, CHUNKING)
    assert all(isinstance(each, Delivered) for each in outcomes)


def test_without_the_setting_a_server_that_offers_chunking_gets_data() -> None:
    async def test(server: Scripted, pools: Pools) -> list[str]:
        await send(pools, "a@d.example")
        return list(server.said[0])

    said = with_scripted(lambda number: {"EHLO": EHLO}, test)
    assert said == ["EHLO", "MAIL", "RCPT", "DATA", "dot"]
