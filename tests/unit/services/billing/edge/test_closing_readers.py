"""Closing what a reading left open, on a store that hangs: briefly, and once."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.billing.edge.cells import RedisCells
from shared.store.client import StoreUnavailable

# What read_pieces.lua answers to "open": whole, state, sizes.
OPENED = [1, [], ["2026-10", "0"]]


class Server:
    """A client of Redis that keeps what it was asked; it answers or does not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hangs = False

    def evalsha(self, _: str, __: int, ___: str, command: str, *____: object) -> Any:
        self.asked.append(command)
        if self.hangs:
            raise RedisTimeoutError("Timeout reading from socket")
        return OPENED if command == "open" else ["0", []]


@pytest.fixture
def clients() -> tuple[Server, Server]:
    return Server(), Server()


def test_a_follower_asks_a_store_that_hangs_once_and_closes_with_a_short_time_out(
    clients: tuple[Server, Server],
) -> None:
    brief, bulk = clients
    follower = RedisCells(brief, "{x}", bulk).follow(())  # type: ignore[arg-type]
    with follower.reading("2026-10") as moment:
        assert list(moment.counts) == []
    assert bulk.asked == ["open", "piece"]
    brief.hangs = bulk.hangs = True
    with pytest.raises(StoreUnavailable), follower.reading("2026-10"):
        pass
    # Two readers are to be closed; the first failure says that the second would fail as well.
    assert (bulk.asked, brief.asked) == (["open", "piece", "open"], ["close"])
    follower.close()
    assert bulk.asked == ["open", "piece", "open"]


def test_a_reading_closes_with_a_short_time_out_too(clients: tuple[Server, Server]) -> None:
    brief, bulk = clients
    bulk.hangs = True
    cells = RedisCells(brief, "{x}", bulk)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable), cells.reading("2026-10"):
        pass
    assert (bulk.asked, brief.asked) == (["open"], ["close"])
