"""A query of usage that waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from services.billing.edge.cells_memory import MemoryCells
from services.billing.edge.log_ends import KafkaUnavailable, LogEnds
from services.billing.edge.usage_view import UsageView
from shared.store.apply_cells import Run

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
