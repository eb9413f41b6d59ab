"""The leases in a real Redis and in memory, with a time of their own: never more than a limit."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.settings.redis import RedisSettings
from shared.store.client import NO_RETRY, connect_async
from shared.store.leases import (
    ALIVE_MS,
    GRACE_MS,
    SLOTS,
    Answer,
    Caller,
    Lease,
    LeaseStore,
    Request,
)
from tests.support.memory_limits import MemoryLeases
from tests.support.patience import PATIENT
from tests.support.pool_talk import run as run_within

ME = Caller("w1", "e1")
START_MS = 1_700_000_000_000


def rate(wanted: int, returned: float = 0, needed: int = 1, burst: float = 10) -> Request:
    return Request("rate", False, 100, 1_000, burst, wanted, needed, returned)


def window(wanted: int, returned: float = 0, slot: int = 0) -> Request:
    return Request("window", True, 100, 60_000, 1, wanted, 1, returned, slot)


class Asking:
    """One store, whose time is set by hand; its grace is over."""

    def __init__(self, store: LeaseStore | MemoryLeases) -> None:
        self.store = store
        self.at_ms = START_MS

    async def ask(self, *requests: Request, caller: Caller = ME) -> Answer:
        self.store.now_ms = str(self.at_ms)
        return await self.store.ask(caller, requests)

    async def lease(self, request: Request) -> Lease:
        (found,) = (await self.ask(request)).leases
        return found


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the leases are kept; "": in memory."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else ""


async def asking(url: str) -> Asking:
    tag = f"{{leases:{secrets.token_hex(6)}}}"
    client = connect_async(RedisSettings(url=url), retry=NO_RETRY, **PATIENT) if url else None
    made = Asking(LeaseStore(client, tag, 60) if client else MemoryLeases())
    await made.ask()
    made.at_ms += GRACE_MS
    return made


def test_an_empty_store_grants_nothing_until_all_workers_know(url: str) -> None:
    async def run() -> None:
        store = await asking(url)
        store.at_ms -= 1
        answer = await store.ask(rate(5), window(5))
        assert (answer.epoch, answer.grace_ms) == ("e1", 1)
        assert [each.granted for each in answer.leases] == [0, 0]
        store.at_ms += 1
        assert [each.granted for each in (await store.ask(rate(5), window(5))).leases] == [5, 5]

    run_within(run())


def test_a_worker_that_was_away_makes_all_keep_to_their_shares(url: str) -> None:
    async def run() -> None:
        store = await asking(url)
        store.at_ms += 1
        await store.ask(caller=Caller("w2", "e2", was_away=True))
        answer = await store.ask(rate(5))
        assert (answer.epoch, answer.grace_ms, answer.workers) == ("e1", GRACE_MS, 2)
        assert answer.leases[0].granted == 0

    run_within(run())


def test_a_rate_grants_its_burst_then_says_how_long_to_wait(url: str) -> None:
    async def run() -> None:
        store = await asking(url)
        assert (await store.lease(rate(100))).granted == 10
        refused = await store.lease(rate(2))
        assert (refused.granted, refused.wait_ms) == (0, 10)
        store.at_ms += 10
        assert (await store.lease(rate(2))).granted == 1
        assert (await store.lease(rate(2, returned=1))).granted == 1, "what came back"
        assert (await store.lease(rate(1, needed=50, burst=10))).granted == 0
        store.at_ms += 100
        assert (await store.lease(rate(1, needed=50))).granted == 50, "one message above the burst"
        store.at_ms += 399
        assert (await store.lease(rate(1))).granted == 0

    run_within(run())


def test_a_window_may_be_used_at_once_but_only_once(url: str) -> None:
    async def run() -> None:
        store = await asking(url)
        first = await store.lease(window(80))
        assert (first.granted, first.used) == (80, 80)
        assert (await store.lease(window(50))).granted == 20
        refused = await store.lease(window(50))
        assert refused.granted == 0
        assert 60_000 <= refused.wait_ms <= 61_000
        assert (await store.lease(window(50, returned=5, slot=first.slot))).granted == 5
        store.at_ms += refused.wait_ms
        assert (await store.lease(window(100))).granted == 100

    run_within(run())


def test_a_worker_counts_until_it_was_silent_for_too_long(url: str) -> None:
    async def run() -> None:
        store = await asking(url)
        assert (await store.ask(caller=Caller("w2", "e2"))).workers == 2
        store.at_ms += ALIVE_MS
        assert (await store.ask()).workers == 2
        store.at_ms += 1
        assert (await store.ask()).workers == 1

    run_within(run())


def test_what_is_restored_of_a_window_counts_in_its_slot(url: str) -> None:
    async def run() -> None:
        store = await asking(url)
        slot = store.at_ms * SLOTS // 60_000
        await store.store.restore("window", 60_000, {slot: 30, slot - SLOTS: 50})
        await store.store.restore("window", 60_000, {slot: 10})
        assert (await store.lease(window(100))).granted == 10
        store.at_ms += 60_000 // SLOTS
        assert (await store.lease(window(100))).granted == 50

    run_within(run())


STEPS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), min_size=1, max_size=40)


@pytest.mark.parametrize("is_window", [False, True])
def test_no_schedule_of_calls_gets_more_than_the_limit(url: str, is_window: bool) -> None:
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(STEPS)
    def check(steps: list[tuple[int, int]]) -> None:
        async def run() -> None:
            store = await asking(url)
            given_at: list[tuple[int, int]] = []
            for wait_ms, wanted in steps:
                store.at_ms += wait_ms * (200 if is_window else 1)
                request = window(wanted) if is_window else rate(wanted)
                given_at.append((store.at_ms, (await store.lease(request)).granted))
            for first, (start, _) in enumerate(given_at):
                total = 0
                for at, granted in given_at[first:]:
                    total += granted
                    if is_window:
                        assert at - start >= 60_000 or total <= 100
                    else:
                        assert total <= (at - start) / 10 + 10 + 0.01

        asyncio.run(run())

    check()
