"""A pool is woken at the earliest of the times that were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from services.deliver.edge.pool.wakeup import Wakeup
from tests.support.virtual_loop import VirtualLoop

LOOPS = pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.SelectorEventLoop])


@LOOPS
def test_a_time_that_has_come_is_no_fault_and_the_next_one_is_asked_for(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    loop = new_loop()
    called: list[float] = []

    def call() -> None:
        called.append(loop.time())
        loop.stop()

    wakeup = Wakeup(loop, call)
    wakeup.ask(loop.time() - 1)
    wakeup.ask(loop.time() - 0.5)
    loop.run_forever()
    wakeup.ask(loop.time() + 0.01)
    loop.run_forever()
    loop.close()
    assert len(called) == 2


def woken_at(asked: list[float], cancelled: bool = False) -> list[float]:
    """When it is called; all times are from the beginning on."""
    loop = VirtualLoop()
    began, called = loop.time(), []
    wakeup = Wakeup(loop, lambda: called.append(round(loop.time() - began, 3)))
    for at in asked:
        wakeup.ask(began + at)
    if cancelled:
        wakeup.cancel()
    loop.run_until_complete(asyncio.sleep(100))
    loop.close()
    return called


@pytest.mark.parametrize(
    ("asked", "called"), [([5, 7], [5]), ([7, 5], [5]), ([5, 5], [5]), ([9], [9])]
)
def test_the_earliest_time_counts(asked: list[float], called: list[float]) -> None:
    assert woken_at(asked) == called


def test_it_is_not_called_after_it_was_cancelled() -> None:
    assert woken_at([5, 7], cancelled=True) == []
