"""Limits that three workers share through a real Redis, also when it is emptied or one dies."""

from __future__ import annotations

import asyncio
import secrets

import pytest
import redis

from tests.support.limited_workers import (
    LimitedWorker,
    all_sent,
    all_working,
    excess,
    most_excess,
    workers,
)
from tests.support.pool_talk import run as run_within

RATE = 200
LIMIT = f"messages = '{RATE}/s'"


async def until_sent(made: list[LimitedWorker], count: int) -> None:
    while sum(len(each.sent) for each in made) < count:  # noqa: ASYNC110 - several workers
        await asyncio.sleep(0.01)


async def until_grace(made: list[LimitedWorker]) -> None:
    while not all(each.throttle.workers.local_until for each in made):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def until_shared(made: list[LimitedWorker]) -> None:
    while any(each.throttle.workers.local_until for each in made):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def keep_to_it(sent: list[float]) -> None:
    assert excess(sent, RATE) <= most_excess(RATE)


@pytest.fixture
def tag() -> str:
    return f"{{limits:{secrets.token_hex(6)}}}"


def test_three_workers_keep_to_a_rate_and_use_it(redis_url: str, tag: str) -> None:
    async def run() -> None:
        async with workers(redis_url, tag, LIMIT) as made, all_working(made):
            await until_sent(made, RATE * 12)
        keep_to_it(all_sent(made))
        assert all(each.sent for each in made)

    run_within(run())


def test_a_worker_that_dies_leaves_its_part_to_the_others(redis_url: str, tag: str) -> None:
    async def run() -> None:
        async with workers(redis_url, tag, LIMIT) as made, all_working(made[1:]):
            async with made[0].working():
                await until_sent(made, RATE * 4)
            await until_sent(made, RATE * 8)
        keep_to_it(all_sent(made))

    run_within(run())


def test_an_emptied_redis_lets_nobody_send_more(redis_url: str, tag: str) -> None:
    async def run() -> None:
        async with workers(redis_url, tag, LIMIT) as made, all_working(made):
            await until_sent(made, RATE * 5)
            with redis.Redis.from_url(redis_url) as client:
                client.delete(*client.keys(f"{tag}*"))
            await until_sent(made, RATE * 11)
        keep_to_it(all_sent(made))

    run_within(run())


def test_a_rolling_window_is_kept_across_an_emptied_redis(redis_url: str, tag: str) -> None:
    async def run() -> None:
        limit = "messages = '300 in 1h'"
        async with workers(redis_url, tag, limit) as made, all_working(made):
            await until_sent(made, 150)
            await until_shared(made)
            with redis.Redis.from_url(redis_url) as client:
                client.delete(*client.keys(f"{tag}*"))
            # Each worker has found the emptied store, and has asked it again.
            await until_grace(made)
            await until_shared(made)
        assert 150 <= len(all_sent(made)) <= 300

    run_within(run())


def test_workers_without_redis_keep_to_their_shares(tag: str) -> None:
    async def run() -> None:
        async with workers("redis://127.0.0.1:1/0", tag, LIMIT) as made, all_working(made):
            await until_sent(made, RATE * 4)
        assert all(each.calls.fault for each in made)
        keep_to_it(all_sent(made))

    run_within(run())
