"""An emptied store loses no count, however old the month, and says so where it would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.billing.edge.statements.checkpointing import Checkpointer
from services.billing.edge.usage_view import UsageView
from shared.runtime.clock import now_ms
from shared.runtime.failpoints import Failpoints
from tests.support.billing.stage import (
    NOVEMBER_MS,
    OCTOBER_MS,
    UTC_MONTHS,
    Stage,
    eventually,
    open_stage,
)


@pytest.fixture
def stage(kafka_bootstrap: str, redis_url: str) -> Iterator[Stage]:
    with open_stage(kafka_bootstrap, redis_url) as found:
        yield found


def why_not_complete(stage: Stage, month: str) -> str:
    with stage.ends() as ends:
        return UsageView(stage.cells, ends).read(month).reason


def test_counts_whose_events_were_deleted_come_back_from_the_checkpoint(stage: Stage) -> None:
    stage.publish(50, OCTOBER_MS)
    stage.count_all()
    assert stage.checkpoint() is True
    assert stage.checkpoint() is False
    stage.publish(30, NOVEMBER_MS)
    stage.delete_events(10)
    stage.store.flushdb()
    stage.count_all()
    assert stage.billed() == {"2026-10": 50, "2026-11": 30}
    assert why_not_complete(stage, "2026-10") == ""


def test_a_store_that_is_emptied_while_events_come_counts_each_once(stage: Stage) -> None:
    with stage.counting():
        for _ in range(3):
            stage.publish(300, OCTOBER_MS)
            stage.checkpoint()
            stage.store.flushdb()
            stage.publish(300, NOVEMBER_MS)
    stage.count_all()
    assert stage.billed() == {"2026-10": 900, "2026-11": 900}
    assert stage.recount().agree


def test_where_neither_reaches_back_the_month_is_not_complete_and_says_why(stage: Stage) -> None:
    stage.publish(50, OCTOBER_MS)
    stage.count_all()
    stage.checkpoint()
    stage.publish(60, OCTOBER_MS)
    stage.delete_events(40)  # beyond the checkpoint
    stage.store.flushdb()
    later_ms = now_ms() + 62 * 86_400_000  # after the month in which Kafka got these records
    stage.publish(5, later_ms)
    stage.count_all()
    assert "were deleted" in why_not_complete(stage, "2026-10")
    assert why_not_complete(stage, UTC_MONTHS.of(later_ms)) == ""
    assert 50 <= stage.billed()["2026-10"] < 110


def test_counts_that_an_operator_dropped_are_counted_again_and_not_restored(stage: Stage) -> None:
    stage.publish(50, OCTOBER_MS)
    stage.count_all()
    stage.checkpoint()
    stage.delete_events(10)
    stage.cells.drop()
    stage.count_all()
    assert stage.billed()["2026-10"] < 50
    assert "were deleted" in why_not_complete(stage, "2026-10")


def test_a_checkpoint_of_another_log_waits_for_an_operator(stage: Stage) -> None:
    stage.publish(5, OCTOBER_MS)
    stage.count_all()
    stage.checkpoint()
    stage.store.flushdb()
    with open_stage(stage.bootstrap, "redis://127.0.0.1:1/0") as other:
        stage.topic = other.topic
        stage.publish(1, OCTOBER_MS)
        with stage.counting() as worker:
            eventually(lambda: bool(worker.log), "the worker says what it waits for")
        assert "another log" in worker.log
        assert stage.billed() == {"2026-10": 5}


def test_old_checkpoints_are_removed_and_unchanged_months_are_not_written_again(
    stage: Stage,
) -> None:
    stage.publish(5, OCTOBER_MS)
    stage.count_all()
    keys = set()
    with stage.statement_topic() as topic:
        checkpointer = Checkpointer(stage.cells, topic, stage.clock, Failpoints.none())
        for _ in range(6):
            stage.publish(1, NOVEMBER_MS)
            stage.count_all()
            assert checkpointer.write()
            best = topic.checkpoints.best()
            assert best is not None
            keys.add(best.months["2026-10"].chunks)
        topic.read()
        assert len(topic.checkpoints.unused()) <= 6
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"{", b"sluice.mail.delivered"),
        (b'{"client":"shop","at_ms":1000000000000000000}', b"sluice.mail.delivered"),
        (b'{"client":"shop","size_bytes":99999999999999999999}', b"sluice.mail.delivered"),
        (b"", b"sluice.tally"),
        (b"\xff", b"sluice.mail.unheard"),
        (b"", b""),
    ],
)
def test_no_event_stops_the_reader(stage: Stage, value: bytes, kind: bytes) -> None:
    stage.publish(1, OCTOBER_MS)
    stage.publish_raw(value, [("ce_type", kind)])
    stage.publish(1, OCTOBER_MS)
    stage.count_all()
    assert stage.billed() == {"2026-10": 2}
    assert why_not_complete(stage, "2026-10") == ""


@pytest.mark.parametrize(
    ("at_ms", "month"),
    [
        (OCTOBER_MS - 365 * 86_400_000, "2025-10"),  # a year late
        (OCTOBER_MS + 365 * 86_400_000, "2027-10"),  # in the future
        (1, "1970-01"),
    ],
)
def test_an_event_counts_in_its_own_month_however_far_away(
    stage: Stage, at_ms: int, month: str
) -> None:
    stage.publish(1, OCTOBER_MS)
    stage.publish(1, at_ms)
    stage.count_all()
    assert stage.billed() == {month: 1, "2026-10": 1}
    assert stage.recount().agree
