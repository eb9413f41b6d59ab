"""Coroutines that run without a task begin at once and go on when their wait is over."""

from __future__ import annotations

import asyncio
from typing import Any

from services.deliver.edge.attempt.stepping import Steps

Future = asyncio.Future[str]


async def follow(future: Future, said: list[str]) -> None:
    said.append("begun")
    try:
        said.append(await future)
    except (ValueError, asyncio.CancelledError) as error:
        said.append(type(error).__name__)
        if isinstance(error, asyncio.CancelledError):
            raise
    said.append("ended")


async def run(end: Any) -> tuple[list[str], list[str], list[object]]:
    """Return what was said before and after the end of the future, and the faults of the loop."""
    loop, faults = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _loop, context: faults.append(context.get("exception")))
    future: Future = loop.create_future()
    said: list[str] = []
    Steps(loop).start(follow(future, said))
    before = list(said)
    end(future)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return before, said, faults


def test_a_coroutine_begins_at_once_and_gets_the_result_of_the_future() -> None:
    before, said, faults = asyncio.run(run(lambda future: future.set_result("found")))
    assert before == ["begun"]
    assert said == ["begun", "found", "ended"]
    assert faults == []


def test_a_coroutine_gets_the_exception_of_the_future() -> None:
    _, said, faults = asyncio.run(run(lambda future: future.set_exception(ValueError())))
    assert said == ["begun", "ValueError", "ended"]
    assert faults == []


def test_a_cancelled_future_ends_the_coroutine_without_a_fault() -> None:
    _, said, faults = asyncio.run(run(lambda future: future.cancel()))
    assert said == ["begun", "CancelledError"]
    assert faults == []


def test_a_coroutine_may_await_tasks_and_give_way() -> None:
    said: list[str] = []

    async def other() -> str:
        await asyncio.sleep(0)
        return "task"

    async def work() -> None:
        await asyncio.sleep(0)
        said.append(await asyncio.shield(asyncio.ensure_future(other())))
        done, _ = await asyncio.wait([asyncio.ensure_future(other())], timeout=60)
        said.extend(task.result() for task in done)
        ended.set()

    async def go() -> None:
        Steps(asyncio.get_running_loop()).start(work())
        await ended.wait()

    ended = asyncio.Event()
    asyncio.run(go())
    assert said == ["task", "task"]


def test_another_exception_is_raised_in_the_callback() -> None:
    fault = RuntimeError("a fault of our own")

    async def work(future: Future) -> None:
        await future
        raise fault

    async def go() -> list[object]:
        loop, faults = asyncio.get_running_loop(), list[object]()
        loop.set_exception_handler(lambda _loop, context: faults.append(context.get("exception")))
        future: Future = loop.create_future()
        Steps(loop).start(work(future))
        future.set_result("")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return faults

    assert asyncio.run(go()) == [fault]
