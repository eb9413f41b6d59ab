"""A query of usage that waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.usage_view import UsageView
from shared.store.apply_cells import Run
from shared.store.read_cells import Counts, Snapshot

UNAVAILABLE = KafkaUnavailable("Kafka: no answer")
ENDS = LogEnds("log-1", {0: 7})


class Ends:
    """Gives these answers one after another."""

    def __init__(self, answers: Iterable[LogEnds | KafkaUnavailable]) -> None:
        self._answers: Iterator[LogEnds | KafkaUnavailable] = iter(answers)

    def ask(self) -> LogEnds:
        answer = next(self._answers)
        if isinstance(answer, KafkaUnavailable):
            raise answer
        return answer


def counted() -> MemoryCells:
    cells = MemoryCells()
    cells.apply(Run("log-1", 0, -1, 7))
    return cells


def test_a_query_that_waits_asks_kafka_again_until_it_answers() -> None:
    found = UsageView(counted(), Ends([UNAVAILABLE, UNAVAILABLE, ENDS])).read("2026-10", wait_s=30)
    assert (found.complete, found.reason) == (True, "")


@pytest.mark.parametrize("wait_s", [0, 0.01])
def test_without_an_answer_of_kafka_the_usage_is_not_complete(wait_s: float) -> None:
    found = UsageView(counted(), Ends([UNAVAILABLE] * 100)).read("2026-10", wait_s=wait_s)
    assert (found.complete, found.reason) == (False, str(UNAVAILABLE))


class CellsInPieces(MemoryCells):
    """Gives the cells of a month in pieces only, and how far counting is as often as it is asked;
    the last events are counted when it was asked twice."""

    asked = pieces = 0

    def read(self, *months: str) -> Snapshot:
        assert not months, "a whole month was read into memory"
        self.asked += 1
        if self.asked == 2:
            self.apply(Run("log-1", 0, 3, 7, (("2026-10", self.name(0), 5),)))
        return super().read()

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        self.pieces += 1
        counts = (("2026-10", self.name(number), number) for number in range(1_000))
        yield super().read(), counts

    @staticmethod
    def name(number: int) -> str:
        return encode_cell(Cell("shop", f"m{number % 3}", "", "billed", f"{number % 28 + 1:02d}"))


def test_the_cells_of_a_month_are_read_once_in_pieces_when_all_is_counted() -> None:
    cells = CellsInPieces()
    cells.apply(Run("log-1", 0, -1, 3))
    found = UsageView(cells, Ends([ENDS])).read("2026-10", wait_s=30)
    assert (found.complete, cells.pieces) == (True, 1)
    assert [(row.mailing_id, row.billed) for row in found.rows] == [
        (f"m{each}", sum(range(each, 1_000, 3))) for each in range(3)
    ]
