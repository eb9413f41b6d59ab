"""Messages that have to be on record before they are offered: a connection is kept for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from services.deliver.core.attempt.results import Delivered, Outcome
from tests.support.pool_talk import CONTENT, SETTINGS, envelope, pools_to, run, send, until
from tests.support.recorded import Recorded
from tests.support.scripted_smtp import scripted

FEW = replace(SETTINGS, max_connections=2)


def _count_of(sends: list[asyncio.Task[Outcome | None]], count: int) -> Callable[[], bool]:
    return lambda: sum(task.done() for task in sends) == count


def test_no_more_messages_are_recorded_than_there_are_connections() -> None:
    async def test() -> tuple[list[Outcome | None], int]:
        permissions = [Recorded() for _ in range(10)]
        async with scripted(lambda _: {}) as server, pools_to(server.address, FEW) as pools:
            sends = [
                asyncio.create_task(pools.send(envelope(f"{n}@d.example"), CONTENT, each))
                for n, each in enumerate(permissions)
            ]
            most = 0
            for done in range(10):
                await until(lambda: any(each.ready for each in permissions))
                asked = [each for each in permissions if each.ready]
                most = max(most, len(asked))
                assert not any(each.has_begun for each in asked)
                asked[0].record()
                asked[0].ready = None
                await until(_count_of(sends, done + 1))
            return [task.result() for task in sends], most

    outcomes, most = run(test())
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert most <= FEW.max_connections


def test_a_message_that_is_not_ours_any_more_gives_its_connection_back() -> None:
    async def test() -> tuple[Outcome | None, Outcome]:
        gone = Recorded()
        one = replace(SETTINGS, max_connections=1)
        async with scripted(lambda _: {}) as server, pools_to(server.address, one) as pools:
            task = asyncio.create_task(pools.send(envelope("a@d.example"), CONTENT, gone))
            await until(lambda: gone.ready is not None)
            gone.record(may_go=False)
            return await task, await send(pools, "b@d.example")

    left, sent = run(test())
    assert left is None
    assert isinstance(sent, Delivered)


def test_a_connection_that_ends_meanwhile_costs_the_message_nothing() -> None:
    async def test() -> tuple[Outcome | None, int]:
        slow = Recorded()
        async with scripted(lambda _: {}) as server, pools_to(server.address, FEW) as pools:
            task = asyncio.create_task(pools.send(envelope("a@d.example"), CONTENT, slow))
            await until(lambda: slow.ready is not None)
            first, slow.ready = slow.ready, None
            server.close_all()
            await until(lambda: slow.ready is not None)
            assert first is not None
            first(True)  # too late: it is about a connection that has ended
            slow.record()
            outcome = await task
            return outcome, len(server.contents)

    outcome, contents = run(test())
    assert isinstance(outcome, Delivered)
    assert contents == 1


def test_closing_the_pools_ends_a_message_that_is_not_recorded_yet() -> None:
    async def test() -> tuple[Outcome | None, bool]:
        slow = Recorded()
        async with scripted(lambda _: {}) as server:
            async with pools_to(server.address, FEW) as pools:
                task = asyncio.create_task(pools.send(envelope("a@d.example"), CONTENT, slow))
                await until(lambda: slow.ready is not None)
            outcome = await task
            slow.record()
            return outcome, slow.has_begun

    assert run(test()) == (None, False)
