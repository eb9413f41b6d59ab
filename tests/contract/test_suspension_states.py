"""The suspensions that workers share, in a real Redis and in memory."""

from __future__ import annotations

import secrets

import pytest

from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.suspensions import SharedState, SuspensionStore
from tests.support.memory_limits import MemoryStates
from tests.support.patience import PATIENT
from tests.support.pool_talk import run


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the states are kept; "": in memory."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else ""


def store(url: str) -> MemoryStates | SuspensionStore:
    if not url:
        return MemoryStates()
    client = connect_async(RedisSettings(url=url), retry=NO_RETRY, **PATIENT)
    return SuspensionStore(client, f"{{limits:{secrets.token_hex(6)}}}", 60)


def state(until: int, key: str = "site:a", *, is_forced: bool = False) -> SharedState:
    return SharedState(key, b'{"until": %d}' % until, float(until), is_forced)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ([], []),
        ([state(10)], ['{"until": 10}']),
        ([state(10), state(20)], ['{"until": 20}']),
        ([state(20), state(10)], ['{"until": 20}']),
        ([state(20), state(0, is_forced=True)], ['{"until": 0}']),
        ([state(10), state(5, "site:b")], ['{"until": 10}', '{"until": 5}']),
    ],
)
def test_a_suspension_is_replaced_by_a_longer_or_a_forced_one(
    url: str, written: list[SharedState], kept: list[str]
) -> None:
    async def test() -> list[str]:
        shared = store(url)
        for each in written:
            await shared.exchange(each)
        return await shared.exchange()

    assert sorted(run(test())) == kept
