"""A backlog of one limited destination, in virtual time: each message comes back once."""

from __future__ import annotations

import pytest

from services.deliver.core.shaping.turns import (
    FIRST_YIELD,
    LEAST_SURE_YIELD,
    LEAST_YIELD,
    Turns,
)
from tests.support.limit_backlog import PERIOD_S, RATE, Backlog


@pytest.mark.parametrize("held_up_s", [0.0, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("come_per_s", [RATE * 1.2, 1_500.0, 10_000.0])
def test_no_message_comes_back_more_than_once_also_if_the_limit_is_not_used_up(
    held_up_s: float, come_per_s: float
) -> None:
    backlog = Backlog(held_up_s)
    took_s = backlog.run(20_000, come_per_s)
    assert max(backlog.turned_away.values()) == 1
    # What is held up beyond the burst is lost.
    lost = max(0.0, held_up_s - 0.1) / PERIOD_S
    assert took_s < 20_000 / (RATE * (1 - lost)) * 1.25


@pytest.mark.parametrize("reads_each_s", [1.0, 5.0, 8.0])
def test_mail_that_a_busy_process_reads_late_and_all_at_once_has_room(reads_each_s: float) -> None:
    backlog = Backlog(0.2, reads_each_s)
    backlog.run(20_000, 1_500.0)
    assert max(backlog.turned_away.values()) == 1


@pytest.mark.parametrize("sends_per_s", [120.0, 85.0])
def test_a_process_that_sends_far_less_than_the_limit_turns_no_mail_away_twice(
    sends_per_s: float,
) -> None:
    backlog = Backlog(0.0, 1.0, sends_per_s)
    took_s = backlog.run(3_000, 300.0)
    assert max(backlog.turned_away.values()) == 1
    assert took_s < 3_000 / sends_per_s * 1.25


def test_the_yield_is_measured_only_while_mail_waits_and_kept_within_bounds() -> None:
    turns = Turns()
    turns.used(5)
    turns.look(1.0, 10.0, has_waiting=False)
    turns.look(2.0, 10.0, has_waiting=True)
    assert turns.part == FIRST_YIELD, "nothing waited at the beginning"
    for second in range(3, 100):
        turns.used(0.5)
        turns.look(float(second), 10.0, has_waiting=True)
    assert turns.part == pytest.approx(LEAST_SURE_YIELD, abs=0.01)
    for second in range(100, 200):
        turns.used(12)
        turns.look(float(second), 10.0, has_waiting=True)
    assert turns.part == pytest.approx(1.0, abs=0.01)


def test_a_low_yield_is_not_believed_while_another_limit_holds_the_same_mail_up() -> None:
    turns = Turns()
    for second in range(100):
        turns.used(0.5)
        turns.look(float(second), 10.0, has_waiting=True, is_sure=False)
    assert turns.part == pytest.approx(LEAST_YIELD, abs=0.01)


def test_a_second_without_mail_counts_with_the_next_one_and_a_long_silence_not_at_all() -> None:
    turns = Turns()
    turns.look(0.0, 10.0, has_waiting=True)
    turns.look(1.0, 10.0, has_waiting=True)
    turns.used(10)
    turns.look(2.0, 10.0, has_waiting=True)
    assert turns.part == 0.5
    for second in range(3, 60):
        turns.look(float(second), 10.0, has_waiting=True)
    assert turns.part == 0.5


@pytest.mark.parametrize("held_in", [1, 2, 3])
def test_a_second_in_which_another_limit_held_mail_up_explains_all_that_count_with_it(
    held_in: int,
) -> None:
    turns = Turns()
    turns.look(0.0, 100.0, has_waiting=True)
    for second in range(1, 40):
        if second % 4 == 0:
            turns.used(40)
        is_sure = second % 4 != held_in
        turns.look(float(second), 100.0, has_waiting=True, is_sure=is_sure)
    assert turns.part == pytest.approx(LEAST_YIELD)


@pytest.mark.parametrize("now", [pytest.param(3.0, id="measured"), pytest.param(20.0, id="not")])
def test_what_another_limit_held_up_is_forgotten_with_the_seconds_that_it_explains(
    now: float,
) -> None:
    turns = Turns()
    turns.look(0.0, 100.0, has_waiting=True)
    turns.look(1.0, 100.0, has_waiting=True, is_sure=False)
    turns.used(80)
    turns.look(now, 100.0, has_waiting=True)
    for second in range(1, 60):
        turns.used(10)
        turns.look(now + second, 100.0, has_waiting=True)
    assert turns.part == pytest.approx(LEAST_SURE_YIELD, abs=0.01)


def test_the_first_second_that_is_measured_replaces_the_guess() -> None:
    turns = Turns()
    turns.look(0.0, 10.0, has_waiting=True)
    turns.used(6)
    turns.look(1.0, 10.0, has_waiting=True)
    assert turns.part == pytest.approx(0.6)
