"""The statements while Kafka does not answer: nobody waits for another, and what was read stays."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from services.billing.core.closing.chain import Closed
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.temporary_files import DiskUnavailable
from services.billing.edge.views import books
from services.billing.edge.views.books import REFRESH_S, Books, StatementsUnknown
from shared.runtime.clock import FakeClock
from tests.support.patience import PATIENCE_S

STATEMENT = cast(Closed, "a statement")


class Topic:
    """Reads as often as it is let; `fault` is what a reading raises."""

    def __init__(self) -> None:
        self.chain = self
        self.closed: dict[str, Any] = {}
        self.reads = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.fault: Exception | None = None

    def read(self) -> None:
        self.reads += 1
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)
        if self.fault:
            raise self.fault

    def close(self) -> None:
        pass


def opened() -> tuple[Books, Topic, FakeClock]:
    topic, clock = Topic(), FakeClock()
    return Books(topic, clock), topic, clock  # type: ignore[arg-type]


def test_statements_are_read_again_after_a_while() -> None:
    found, topic, clock = opened()
    assert found.closed() == ({}, "")
    topic.closed["2026-10"] = STATEMENT
    assert found.closed() == ({}, "")
    clock.go_on(REFRESH_S)
    assert found.closed() == ({"2026-10": STATEMENT}, "")
    assert topic.reads == 2


def test_while_kafka_does_not_answer_one_reads_and_the_others_get_what_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(books, "WAIT_S", 0.01)
    found, topic, clock = opened()
    topic.closed["2026-10"] = STATEMENT
    found.closed()
    clock.go_on(REFRESH_S)
    topic.go_on.clear()
    topic.begun.clear()
    for _ in range(20):
        closed, fault = found.closed()
        assert closed == {"2026-10": STATEMENT}
        assert "still being read" in fault
    assert topic.begun.wait(PATIENCE_S)
    assert topic.reads == 2
    topic.fault = KafkaUnavailable("no broker answers")
    topic.go_on.set()
    found.close()
    # The time of a reading that failed counts from its end.
    assert found.closed() == ({"2026-10": STATEMENT}, "no broker answers")
    assert topic.reads == 2


def test_the_first_reading_is_waited_for() -> None:
    found, topic, _ = opened()
    topic.go_on.clear()
    topic.closed["2026-10"] = STATEMENT
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(found.closed())) for _ in range(3)]
    for each in threads:
        each.start()
    assert topic.begun.wait(PATIENCE_S)
    assert answers == []
    topic.go_on.set()
    for each in threads:
        each.join(PATIENCE_S)
    assert answers == [({"2026-10": STATEMENT}, "")] * 3
    assert topic.reads == 1


FAULTS = [
    (KafkaUnavailable("Kafka: not read in 30 s"), "not read in 30 s"),
    (DiskUnavailable("/tmp is full"), "/tmp is full"),
    (RuntimeError("a fault of the client library"), "see the log"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_until_a_reading_has_succeeded_no_month_is_known_to_be_open(
    fault: Exception, words: str
) -> None:
    found, topic, clock = opened()
    topic.closed["2026-10"] = STATEMENT
    topic.fault = fault
    for reads in (1, 1, 2):
        with pytest.raises(StatementsUnknown, match=words):
            found.closed()
        clock.go_on(REFRESH_S / 2)
        assert topic.reads == reads
    topic.fault = None
    clock.go_on(REFRESH_S)
    assert found.closed() == ({"2026-10": STATEMENT}, "")


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_any_later_fault_is_said_beside_what_was_read(fault: Exception, words: str) -> None:
    found, topic, clock = opened()
    topic.closed["2026-10"] = STATEMENT
    found.closed()
    topic.fault = fault
    clock.go_on(REFRESH_S)
    closed, reason = found.closed()
    assert (closed, words in reason) == ({"2026-10": STATEMENT}, True)
