"""A script over a connection that is kept: no reply goes astray, whatever happens to the calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest

from shared.settings.sections import RedisSettings
from shared.store.client import NO_RETRY, StoreUnavailable, connect_async
from shared.store.script import KeptScript

NAME = "leases"


class Server:
    """Answers each script with its last argument; connections can be closed or kept waiting."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.last: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.knows_script = True
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        parser = hiredis.Reader(encoding="utf-8")
        while data := await reader.read(65_536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                writer.write(await self._answer(command))
        writer.close()

    async def _answer(self, command: list[str]) -> bytes:
        if not command[0].startswith("EVAL"):
            return b"+PONG\r\n" if command[0] == "PING" else b"+OK\r\n"
        self.commands.append(command[0])
        self.last = command
        await self.answers.wait()
        if command[0] == "EVALSHA" and not self.knows_script:
            return b"-NOSCRIPT No matching script\r\n"
        answer = command[-1].encode()
        return b"$%d\r\n%b\r\n" % (len(answer), answer)


@asynccontextmanager
async def made() -> AsyncIterator[tuple[Server, Callable[[str | int | bytes], Awaitable[Any]]]]:
    """A server, and a script that answers with what it is given."""
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = connect_async(RedisSettings(url=f"redis://127.0.0.1:{port}/0"), retry=NO_RETRY)
    script = KeptScript(client, NAME)

    async def call(text: str | int | bytes) -> Any:
        return await script.run(["key"], [text])

    try:
        yield server, call
    finally:
        server.answers.set()
        await client.aclose()
        listening.close()


def test_the_connection_is_kept() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            assert [await call(text) for text in "abc"] == ["a", "b", "c"]
            assert len(server.writers) == 1

    asyncio.run(scenario())


def test_an_abandoned_call_does_not_hand_its_reply_to_the_next() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            assert await call("first") == "first"
            server.answers.clear()
            waiting = asyncio.ensure_future(call("astray"))
            while len(server.commands) < 2:  # noqa: ASYNC110 - until the command has arrived
                await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            server.answers.set()
            assert [await call(text) for text in "abc"] == ["a", "b", "c"]
            assert len(server.writers) == 2

    asyncio.run(scenario())


def test_a_connection_that_the_server_closed_between_two_calls_is_opened_again() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            assert await call("a") == "a"
            server.writers[0].close()
            await server.writers[0].wait_closed()
            await asyncio.sleep(0)
            assert await call("b") == "b"

    asyncio.run(scenario())


def test_a_call_whose_connection_breaks_is_not_sent_again() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            server.answers.clear()
            waiting = asyncio.ensure_future(call("a"))
            while not server.commands:  # noqa: ASYNC110 - until the command has arrived
                await asyncio.sleep(0.01)
            server.writers[0].transport.abort()
            with pytest.raises(StoreUnavailable):
                await waiting
            assert len(server.commands) == 1
            server.answers.set()
            assert await call("b") == "b"

    asyncio.run(scenario())


def test_two_calls_at_a_time_have_a_connection_each() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            for _ in range(2):
                assert list(await asyncio.gather(call("a"), call("b"))) == ["a", "b"]
            assert len(server.writers) == 2

    asyncio.run(scenario())


def test_a_server_that_does_not_know_the_script_is_sent_it() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            server.knows_script = False
            assert await call("a") == "a"
            assert server.commands == ["EVALSHA", "EVAL"]

    asyncio.run(scenario())


def test_numbers_texts_and_octets_are_sent_as_they_are() -> None:
    async def scenario() -> None:
        async with made() as (server, call):
            for part, answer in (("clé", "clé"), (2, "2"), (b"\r\n\x00", "\r\n\x00")):
                assert await call(part) == answer
            assert server.last[2:] == ["1", "key", "\r\n\x00"]

    asyncio.run(scenario())
