"""Months are closed once, whatever happens in between; Kafka and the store are real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.billing.core.closing.chain import Chain
from services.billing.core.closing.statement import encode_public, faults
from services.billing.edge.statements.closing import Closer, NotComplete
from services.billing.edge.statements.topic import Entry, StatementTopic
from shared.runtime.errors import UsageError
from shared.stream.log_reader import LogReader
from tests.support.billing.stage import JANUARY_5_MS, NOVEMBER_MS, OCTOBER_MS, Stage, open_stage


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Stage]:
    with open_stage(kafka_bootstrap, redis_url) as found:
        yield found


def chain(stage: Stage) -> Chain:
    with stage.statement_topic() as topic:
        topic.read()
        return topic.chain


def close_all(closer: Closer) -> list[str]:
    months = []
    while month := closer.due():
        months.append(closer.close(month, "automatic").month)
    return months


def test_months_are_closed_one_after_another_and_late_counts_become_adjustments(
    stage: Stage,
) -> None:
    key = Ed25519PrivateKey.generate()
    stage.publish(3, OCTOBER_MS, size_bytes=100)
    stage.publish(2, NOVEMBER_MS)
    stage.count_all()
    with stage.closer(key=key) as closer:
        assert close_all(closer) == ["2026-10", "2026-11"]
    stage.publish(4, OCTOBER_MS)
    stage.publish(1, NOVEMBER_MS)
    stage.publish(5, JANUARY_5_MS - 10 * 86_400_000)
    stage.count_all()
    stage.clock.go_on((JANUARY_5_MS - stage.clock.now_ms()) / 1000)
    with stage.closer(key=key) as closer:
        assert close_all(closer) == ["2026-12"]
    found = chain(stage)
    october, december = found.closed["2026-10"], found.closed["2026-12"]
    assert october.statement.totals == {"billed": 3, "bytes": 300, "delivered": 3}
    assert december.statement.totals == {"billed": 5, "delivered": 5}
    assert december.statement.adjusted == {"billed": 5, "delivered": 5}
    assert {(line.month, line.count) for line in december.lines() if line.counter == "billed"} == {
        ("2026-10", 4),
        ("2026-11", 1),
        ("2026-12", 5),
    }
    public = encode_public(key.public_key())
    for closed in found.closed.values():
        assert faults(closed.statement, closed.text, [public]) == []
    assert found.void == []


def test_two_processes_that_close_the_same_month_get_the_same_statement(stage: Stage) -> None:
    """The second counts after the first, and writes what it has prepared a minute later."""
    stage.publish(3, OCTOBER_MS)
    stage.count_all()

    class Paused(StatementTopic):
        """Another process closes the month just before this one writes."""

        def write(self, entries: Iterator[Entry]) -> None:  # type: ignore[override]
            prepared = list(entries)
            stage.publish(2, OCTOBER_MS)
            stage.count_all()
            with stage.closer() as other:
                others.append(other.close("2026-10", "command"))
            super().write(prepared)

    others: list[object] = []
    topic = Paused(stage.options, stage.statements)
    with stage.closer(topic=topic) as closer:
        ours = closer.close("2026-10", "command")
    topic.close()
    assert [ours] == others
    assert ours.totals["billed"] == 5
    found = chain(stage)
    assert found.closed["2026-10"].statement == ours
    assert len(found.void) == 1


@pytest.mark.parametrize("written", [0, 1])
def test_a_process_that_dies_while_it_writes_leaves_no_statement_and_the_next_one_closes(
    stage: Stage, written: int
) -> None:
    stage.publish(3, OCTOBER_MS)
    stage.count_all()

    class DeadError(RuntimeError):
        """kill -9."""

    class Dying(StatementTopic):
        def write(self, entries: Iterator[Entry]) -> None:  # type: ignore[override]
            super().write(list(entries)[:written])
            raise DeadError

    topic = Dying(stage.options, stage.statements)
    with stage.closer(topic=topic) as closer, pytest.raises(DeadError):
        closer.close("2026-10", "command")
    topic.close()
    assert chain(stage).closed == {}
    with stage.closer() as closer:
        assert closer.close("2026-10", "command").totals["billed"] == 3


def test_what_is_not_counted_yet_keeps_a_month_open(stage: Stage) -> None:
    stage.publish(3, OCTOBER_MS)
    stage.count_all()
    stage.publish(2, OCTOBER_MS)
    with stage.closer() as closer:
        with pytest.raises(NotComplete, match="not counted yet"):
            closer.close("2026-10", "automatic")
        found = closer.close("2026-10", "command", incomplete=True)
    assert (found.complete, found.totals["billed"]) == (False, 3)
    assert "not counted yet" in found.reason


@pytest.mark.parametrize(
    ("month", "words"),
    [
        ("2026-12", "has not ended yet in UTC"),
        ("2027-01", "has not ended yet in UTC"),
        ("2026-11", "2026-10 must be closed first"),
        ("2026-09", "2026-10 must be closed first"),
    ],
)
def test_a_month_that_cannot_be_closed_now_says_why(stage: Stage, month: str, words: str) -> None:
    stage.publish(1, OCTOBER_MS)
    stage.count_all()
    with stage.closer() as closer, pytest.raises(UsageError, match=words):
        closer.close(month, "command")


def test_the_time_zone_is_fixed_by_the_first_close(stage: Stage) -> None:
    stage.publish(1, OCTOBER_MS)
    stage.count_all()
    with stage.closer() as closer:
        closer.close("2026-10", "command")
    with (
        stage.closer(time_zone="Europe/Berlin") as closer,
        pytest.raises(UsageError, match=r"billing\.time_zone: 'Europe/Berlin' was found"),
    ):
        closer.due()


def test_the_event_for_the_erp_is_a_cloud_event(stage: Stage) -> None:
    stage.publish(1, OCTOBER_MS)
    stage.count_all()
    with stage.closer() as closer:
        closed = closer.close("2026-10", "command")
    reader = LogReader(stage.options, stage.statements)
    reader.read_from({0: 0})
    records: list[Any] = []
    while not reader.has_reached(reader.ends([0])):
        records += reader.poll(200).get(0, [])
    reader.close()
    assert records
    headers = dict(records[-1].headers)
    assert headers["ce_type"] == b"sluice.billing.month.closed"
    assert headers["ce_id"] == f"2026-10.{closed.token}".encode()
