"""When the front door's outbox writes its batch, and that it reports each message once."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import pytest

from services.ingest.edge.writing import outbox as subject
from services.ingest.edge.writing.outbox import (
    UNKNOWN,
    BatchResult,
    Outbox,
    Outcome,
    PendingWrite,
    Written,
)
from tests.support.patience import PATIENCE_S

# Long enough that no timer fires by chance, and that a test that waits for one fails.
NEVER_S: Final = 600.0


class Bench:
    """An outbox whose thread only collects the batches; the test settles them."""

    def __init__(self) -> None:
        self.batches: queue.SimpleQueue[BatchResult[int]] = queue.SimpleQueue()
        self.told: list[tuple[int, Outcome]] = []
        self.outbox: Outbox[int] = Outbox("test", self._keep)

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.outbox.put(number, partial(self._tell, number))

    def _keep(self, batch: list[PendingWrite[int]]) -> list[BatchResult[int]]:
        result = BatchResult(batch)
        self.batches.put(result)
        return [result]

    def _tell(self, number: int, outcome: Outcome) -> None:
        self.told.append((number, outcome))

    async def batch(self) -> list[int]:
        """The numbers of the next batch, which stays in flight."""
        self.last = await asyncio.to_thread(self.batches.get, timeout=PATIENCE_S)
        return [one.item for one in self.last.pending]

    async def settle(self) -> None:
        """Report that the last batch is in Kafka."""
        last = self.last
        last.outcomes.set_result([Written(str(one.item)) for one in last.pending])
        await asyncio.sleep(0)

    def is_quiet(self) -> bool:
        return self.batches.empty()


def played(play: Callable[[Bench], Awaitable[None]]) -> Bench:
    async def whole() -> Bench:
        bench = Bench()
        await play(bench)
        await asyncio.wait_for(bench.outbox.close(), PATIENCE_S)
        return bench

    return asyncio.run(whole())


def test_what_comes_together_is_one_batch_in_its_order() -> None:
    async def play(bench: Bench) -> None:
        bench.put(1, 2, 3)
        assert await bench.batch() == [1, 2, 3]
        await bench.settle()

    assert played(play).told == [(n, Written(str(n))) for n in (1, 2, 3)]


def test_while_much_is_on_its_way_the_rest_waits_until_that_is_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "GATHER_S", NEVER_S)

    async def play(bench: Bench) -> None:
        bench.put(1, 2, 3)
        assert await bench.batch() == [1, 2, 3]
        bench.put(4)
        await asyncio.sleep(10 * subject.LINGER_S)
        assert bench.is_quiet(), "three are on their way and one waits"
        bench.put(5)
        await bench.settle()
        assert await bench.batch() == [4, 5]
        await bench.settle()

    assert len(played(play).told) == 5


def test_what_waits_for_others_waits_no_longer_than_it_may() -> None:
    async def play(bench: Bench) -> None:
        bench.put(1, 2, 3)
        assert await bench.batch() == [1, 2, 3]
        bench.put(4)
        first = bench.last
        assert await bench.batch() == [4], "though nothing of the first has been heard"
        await bench.settle()
        bench.last = first
        await bench.settle()

    assert [n for n, _ in played(play).told] == [4, 1, 2, 3]


def test_a_full_batch_does_not_wait_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LINGER_S", NEVER_S)
    monkeypatch.setattr(subject, "MAX_BATCH", 3)

    async def play(bench: Bench) -> None:
        bench.put(1, 2, 3)
        assert await bench.batch() == [1, 2, 3]
        bench.put(4)
        await bench.settle()
        assert bench.is_quiet()
        asyncio.get_running_loop().call_soon(bench.outbox._flush)
        assert await bench.batch() == [4]
        await bench.settle()

    assert len(played(play).told) == 4


def test_what_was_gathered_when_it_closes_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "LINGER_S", NEVER_S)

    async def whole() -> list[tuple[int, Outcome]]:
        bench = Bench()
        bench.put(1, 2)
        closing = asyncio.create_task(bench.outbox.close())
        assert await bench.batch() == [1, 2]
        assert not closing.done(), "it waits for the answer"
        await bench.settle()
        await asyncio.wait_for(closing, PATIENCE_S)
        return bench.told

    assert len(asyncio.run(whole())) == 2


def told_with(
    withdraw: Callable[[Sequence[PendingWrite[str]]], Sequence[Outcome]],
) -> list[Outcome]:
    """The outcomes of two messages, one of which is given up and acknowledged too late."""

    async def both() -> list[Outcome]:
        told: list[Outcome] = []

        def write(batch: list[PendingWrite[str]]) -> list[BatchResult[str]]:
            results = [BatchResult([one], [Written(one.item)]) for one in batch]
            lost = BatchResult([one for one in batch if one.item == "lost"])
            lost.set_unknown()
            return [lost, *results]

        outbox = Outbox("test", write, withdraw)
        outbox.put("lost", told.append)
        outbox.put("kept", told.append)
        await outbox.close()
        return told

    return asyncio.run(both())


def test_what_is_given_up_is_told_once_as_the_withdrawal_says_though_an_answer_comes_late() -> None:
    threads: list[str] = []

    def withdraw(batch: Sequence[PendingWrite[str]]) -> Sequence[Outcome]:
        threads.append(threading.current_thread().name)
        return [UNKNOWN for _ in batch]

    assert sorted(map(repr, told_with(withdraw))) == sorted(map(repr, [UNKNOWN, Written("kept")]))
    assert threads == ["test-withdrawn_0"]


def test_what_goes_on_all_the_same_is_told_as_written() -> None:
    told = told_with(lambda batch: [Written("elsewhere") for _ in batch])
    assert sorted(map(repr, told)) == sorted(map(repr, [Written("elsewhere"), Written("kept")]))


def test_a_withdrawal_that_fails_is_told_as_unknown() -> None:
    def withdraw(batch: Sequence[PendingWrite[str]]) -> Sequence[Outcome]:
        raise RuntimeError("as a test")

    assert UNKNOWN in told_with(withdraw)
