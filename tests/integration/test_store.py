"""The store's client with a real server: nothing waits forever, no reply is misassigned."""

import asyncio
import socket
import time
import uuid
from collections.abc import Iterator

import pytest
import redis

from shared.settings.sections import RedisSettings
from shared.store.client import WORST_CALL_S, StoreUnavailable, connect, connect_async, store_errors
from shared.store.read_cells import ReadCells, Snapshot


@pytest.fixture
def key() -> str:
    return f"{{test:{uuid.uuid4().hex}}}"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_script_runs_on_a_server_that_never_saw_it(redis_url: str, key: str) -> None:
    client = connect(RedisSettings(url=redis_url))
    script = ReadCells(client, key)
    for _ in range(2):
        client.script_flush()
        assert script.run("2026-11") == Snapshot(True, "", {}, {}, {})
    client.close()


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    # Bound, so that nobody else listens there meanwhile, and not listening.
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{reserved.getsockname()[1]}/0"
        with pytest.raises(StoreUnavailable, match=r"^Redis: .*refused"):
            ReadCells(connect(RedisSettings(url=url)), "{none}").run()


def test_a_server_that_says_nothing_is_given_up(silent_port: int) -> None:
    began = time.monotonic()
    client = connect(RedisSettings(url=f"redis://127.0.0.1:{silent_port}/0"), socket_timeout=0.2)
    with pytest.raises(StoreUnavailable), store_errors():
        client.ping()
    assert time.monotonic() - began < WORST_CALL_S


def test_a_wrong_type_under_the_key_is_told_and_not_overwritten(redis_url: str, key: str) -> None:
    client = connect(RedisSettings(url=redis_url))
    client.set(key, "something else")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        ReadCells(client, key).run()
    assert client.get(key) == "something else"
    client.close()


def test_a_cancelled_command_does_not_hand_its_reply_to_the_next(redis_url: str, key: str) -> None:
    async def scenario() -> list[object]:
        client, other = (
            connect_async(RedisSettings(url=redis_url), max_connections=1),
            connect_async(RedisSettings(url=redis_url)),
        )
        await client.set(f"{key}:a", "a")

        async def pop() -> object:
            return await client.blpop([f"{key}:list"], timeout=30)

        waiting = asyncio.create_task(pop())
        while not any(each["cmd"] == "blpop" for each in await other.client_list()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until the command has arrived; its reply has not
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        # the reply that the cancelled command waited for
        await other.rpush(f"{key}:list", "astray")
        answers: list[object] = [await client.get(f"{key}:a") for _ in range(3)]
        await client.aclose()
        await other.aclose()
        return answers

    assert asyncio.run(scenario()) == ["a", "a", "a"]


def test_a_timed_out_command_does_not_hand_its_reply_to_the_next(redis_url: str, key: str) -> None:
    client = connect(
        RedisSettings(url=redis_url), max_connections=1, socket_timeout=2.0, retry=None
    )
    client.set(f"{key}:a", "a")
    with pytest.raises(StoreUnavailable), store_errors():
        client.blpop([f"{key}:list"], timeout=30)
    other = connect(RedisSettings(url=redis_url))
    other.rpush(f"{key}:list", "astray")
    assert [client.get(f"{key}:a") for _ in range(3)] == ["a", "a", "a"]
    client.close()
    other.close()


def test_no_test_can_empty_the_databases_of_the_other_workers(redis_url: str, key: str) -> None:
    client = connect(RedisSettings(url=redis_url))
    client.set(key, "kept")
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.flushall()
    assert client.get(key) == "kept"
    client.close()
