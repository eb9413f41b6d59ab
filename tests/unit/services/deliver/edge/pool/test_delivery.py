"""A message in a pool: that it leaves once, however it ends, and that the pool counts its bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.deliver.core.attempt.results import (
    ConnectFault,
    Deferred,
    Delivered,
    NoConnection,
    NoSource,
)
from services.deliver.core.pool.planner import PoolLimits
from services.deliver.edge.pool.delivery import Delivery
from services.deliver.edge.pool.site_pool import SitePool
from services.deliver.sending import load_outcome_rules
from shared.topics.records import Envelope, Facts, Origin

CONTENT = b"Subject: x\r\n\r\nx\r\n"
OUTCOME = Delivered("250 Ok", "2.0.0", "mx", "", "")


def make(begin: Callable[[], bool] | None = None) -> Delivery:
    envelope = Envelope("1", "shop", "a@d.example", "b@r.example", "", 0, Origin(), Facts())
    return Delivery(envelope, CONTENT, begin, None)


def refuse() -> Any:
    raise RuntimeError("a fault of our own")


ENDS: dict[str, Callable[[Delivery], object]] = {
    "with an outcome": lambda one: one.settle(lambda: OUTCOME),
    "with an outcome that cannot be found": lambda one: one.settle(refuse),
    "without one": Delivery.drop,
    "for another source": lambda one: one.leave_source(NoSource("no address")),
    "by a fault": lambda one: one.fail(RuntimeError("a fault of our own")),
    "not begun": lambda one: one.try_begin(),
    "given up by its attempt": lambda one: (one.future.cancel(), one.try_begin()),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_message_leaves_its_pool_once(end: Callable[[Delivery], object]) -> None:
    async def test() -> None:
        left: list[Delivery] = []
        one = make(lambda: False)
        one.on_left = left.append
        end(one)
        one.drop()
        one.settle(lambda: OUTCOME)
        assert left == [one]
        assert one.future.cancelled() or one.future.exception() or one.future.done()

    asyncio.run(test())


class Unreachable:
    """The hosts of a site of which none can be connected to."""

    async def open(self, _dialog: object) -> ConnectFault:
        return NoConnection("refused")


def test_the_bytes_of_a_message_count_until_it_has_an_outcome() -> None:
    async def test() -> None:
        hosts: Any = Unreachable()
        pool = SitePool("mx", PoolLimits(), hosts, load_outcome_rules())
        one, given_up = make(), make()
        pool.add(one)
        pool.add(given_up)
        assert pool.load(0.0).content_bytes == 2 * len(CONTENT)
        given_up.future.cancel()
        assert isinstance(await one.future, Deferred)
        assert pool.load(0.0).content_bytes == 0
        pool.close()

    asyncio.run(test())
