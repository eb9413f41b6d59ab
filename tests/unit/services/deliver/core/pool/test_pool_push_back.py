"""Sites that want fewer connections, and sites that take their time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.results import (
    Busy,
    TransactionResult,
)
from services.deliver.core.pool.concurrency import ADD_S, DOUBLE_S, ConcurrencyLimit
from services.deliver.core.pool.planner import PoolLimits, SitePlanner
from services.deliver.core.pool.slow_sites import SLOW_S
from services.deliver.core.pool.steps import Fail, Open, Start, Step
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import make_reply
from tests.support.pool_ends import ACCEPTED, LOST, TOO_MANY

MOST = 20
LIMITS = PoolLimits(max_connections=MOST, max_messages_per_connection=1_000)
BUSY_NOW = make_reply(421, "4.7.0 try later")

Planner = SitePlanner[int, int]


def planner(messages: int, at: float = 0.0, limits: PoolLimits = LIMITS) -> Planner:
    made = Planner(limits)
    add(made, messages, at)
    return made


def add(made: Planner, messages: int, at: float) -> None:
    for number in range(messages):
        made.added(number, at)


def opened(steps: list[Step[int, int]]) -> int:
    return steps.count(Open())


def started(steps: list[Step[int, int]]) -> list[Start[int, int]]:
    return [step for step in steps if isinstance(step, Start)]


def failed(steps: list[Step[int, int]]) -> list[Fail[int]]:
    return [step for step in steps if isinstance(step, Fail)]


@pytest.mark.parametrize("are_first", [True, False], ids=["refused first", "accepted first"])
def test_a_site_that_takes_two_connections_gets_all_its_mail_over_two(are_first: bool) -> None:
    made = planner(200)
    assert opened(made.plan(0.0)) == MOST
    refused = range(2, MOST)
    for number in (*refused, 0, 1) if are_first else (0, 1, *refused):
        if number in refused:
            made.open_failed(TOO_MANY, 0.1)
        else:
            made.opened(number, 0.1)
        assert failed(made.plan(0.1)) == [], "a connection works, or one is being opened"
    assert len(made.connections) == 2
    for _ in range(99):
        for connection in (0, 1):
            assert made.ended(connection, 0, ACCEPTED, 2.0, is_usable=True)
        assert opened(made.plan(2.0)) == 0


def test_mail_that_comes_after_a_refusal_waits_though_all_connections_have_ended() -> None:
    made = planner(2)
    made.plan(0.0)
    made.opened(0, 0.0)
    made.open_failed(TOO_MANY, 0.0)
    (start,) = started(made.plan(0.0))
    assert made.ended(0, start.message, ACCEPTED, 0.0, is_usable=False)
    made.closed(0)
    assert made.plan(0.1) == []
    assert opened(made.plan(1.0)) == 1


def test_a_site_that_refuses_all_connections_gets_one_after_the_pause() -> None:
    made = planner(30)
    made.plan(0.0)
    for _ in range(MOST):
        made.open_failed(TOO_MANY, 0.0)
    steps = made.plan(0.0)
    assert failed(steps) == [Fail(number, TOO_MANY) for number in range(30)]
    add(made, 30, 1.0)
    assert opened(made.plan(1.0)) == 1
    made.opened(0, 1.0)
    assert opened(made.plan(1.0)) == 0, "what it takes is not known"


@pytest.mark.parametrize(
    "result",
    [
        Finished(Stage.MAIL, BUSY_NOW),
        Finished(Stage.RCPT, BUSY_NOW),
        Finished(Stage.DATA, BUSY_NOW),
        Finished(Stage.CONTENT, BUSY_NOW),
        LOST,
        replace(LOST, answered=True),
        replace(LOST, in_doubt=True),
    ],
    ids=["MAIL", "RCPT", "DATA", "the dot", "hang-up", "hang-up at RCPT", "hang-up after the dot"],
)
def test_a_site_that_pushes_back_gets_a_handful_of_connections_a_minute(
    result: TransactionResult,
) -> None:
    made = planner(1_000, limits=replace(LIMITS, max_wait_s=1_000.0))
    connections, now = 0, 0.0
    while now < 60.0:
        steps = made.plan(now)
        assert failed(steps) == [], "the mail waits"
        for _ in range(opened(steps)):
            made.opened(connections, now)
            for start in started(made.plan(now)):
                assert made.ended(start.connection, start.message, result, now, is_usable=False)
                made.closed(start.connection)
            connections += 1
        now += 0.1
    assert connections <= MOST + 6


@pytest.mark.parametrize("every", [5, 20], ids=["a fifth", "a twentieth"])
@pytest.mark.parametrize(
    "lost", [replace(LOST, answered=True), replace(LOST, in_doubt=True)], ids=["RCPT", "the dot"]
)
def test_a_site_that_hangs_up_on_a_share_of_the_messages_keeps_its_connections(
    every: int, lost: TransactionResult
) -> None:
    made = planner(4_000, limits=replace(LIMITS, max_wait_s=1_000.0))
    connections, ends, now = 0, 0, 0.0
    while made.messages and now < 100.0:
        steps = made.plan(now)
        for _ in range(opened(steps)):
            made.opened(connections, now)
            connections += 1
        for start in started(steps + made.plan(now)):
            ends += 1
            is_lost = ends % every == 0
            result = lost if is_lost else ACCEPTED
            made.ended(start.connection, start.message, result, now, is_usable=not is_lost)
            if is_lost:
                made.closed(start.connection)
        now += 0.1
    assert now < 4_000 / MOST * 0.1 * 2, "nearly as soon as without the messages it hangs up on"


def slow_for(seconds: float) -> tuple[Planner, float]:
    """A site without connections that could not take all of its mail for so long."""
    made = Planner(replace(LIMITS, max_wait_s=10 * seconds))
    for now in range(0, int(seconds), 50):
        add(made, 1, now)
        made.restrict(1)
        assert len(failed(made.plan(now))) == 1
    made.restrict(None)
    return made, seconds


def test_after_a_push_back_turns_come_closer_as_the_site_recovers() -> None:
    made, now = slow_for(900.0)
    add(made, 2_000, now)
    made.plan(now)
    for connection in range(MOST):
        made.opened(connection, now)
    ends = started(made.plan(now))
    for start in ends:  # down to one connection
        made.ended(
            start.connection, start.message, Finished(Stage.MAIL, BUSY_NOW), now, is_usable=False
        )
        made.closed(start.connection)
    now += 1.5
    assert opened(made.plan(now)) == 1
    made.opened(99, now)
    for _ in range(8):
        (start,) = started(made.plan(now))
        now += 0.5
        made.ended(99, start.message, ACCEPTED, now, is_usable=True)
    made.restrict(50)
    turns = [s.fault.delay_s for s in failed(made.plan(now)) if isinstance(s.fault, Busy)]
    assert len(turns) > 1_800
    assert max(turns) < 900 / 2, "at one message every 0.5 s the last turn would be in 15 minutes"
    first, last = turns[1] - turns[0], turns[-1] - turns[-2]
    assert first == pytest.approx(0.5, abs=0.1)
    assert last < first / 4


def test_one_connection_that_breaks_halves_them_and_quiet_brings_them_back() -> None:
    limit = ConcurrencyLimit(MOST)
    limit.pushed_back(0.0)
    assert limit.at(0.0) == 10
    limit.pushed_back(1.0)
    assert limit.at(1.0) == 5
    assert limit.at(1.0 + ADD_S) == 6
    assert not limit.is_full(900.0)
    assert limit.is_full(901.0)


def test_after_a_restart_of_the_server_its_connections_soon_double() -> None:
    limit = ConcurrencyLimit(MOST)
    limit.refused(0, 0.0)
    grown = [limit.at(step * DOUBLE_S) for step in range(5)]
    assert grown == [1, 2, 4, 8, 10]
    assert limit.at(4 * DOUBLE_S + ADD_S) == 11


def test_a_learned_limit_is_tried_again_by_one() -> None:
    limit = ConcurrencyLimit(MOST)
    limit.works(2)
    limit.refused(2, 0.0)
    assert [limit.at(at) for at in (0.0, ADD_S - 1, ADD_S)] == [2, 2, 3]


def test_a_site_that_takes_its_time_is_noticed_before_its_first_answer() -> None:
    made = planner(100)
    made.plan(0.0)
    for connection in range(MOST):
        made.opened(connection, 0.0)
    assert len(started(made.plan(0.0))) == MOST
    assert made.wait_s(0.1) < SLOW_S <= made.wait_s(5.0)


def test_what_a_slow_site_may_not_have_gets_turns_one_after_the_other() -> None:
    made = planner(30, limits=replace(LIMITS, max_connections=1))
    made.plan(0.0)
    made.opened(0, 0.0)
    assert len(started(made.plan(0.0))) == 1
    assert made.ended(0, 0, ACCEPTED, 2.0, is_usable=True)
    made.restrict(50)
    steps = made.plan(2.0)
    turns = [step.fault.delay_s for step in failed(steps) if isinstance(step.fault, Busy)]
    assert made.messages == 1 + SLOW_S / 2.0, "one is on its way, and the next 10 s are full"
    assert [step.message for step in failed(steps)] == list(range(7, 30))
    assert turns[0] == pytest.approx(2.0 * (5 + 1)), "five wait before it, 2 s each"
    assert turns[-1] == pytest.approx(2.0 * (5 + 23))
    made.restrict(None)
    add(made, 100, 3.0)
    assert failed(made.plan(3.0)) == []


def test_a_slow_site_has_no_more_connections_in_use_than_its_share() -> None:
    made = planner(100)
    made.plan(0.0)
    for connection in range(3):
        made.opened(connection, 0.0)
    assert len(started(made.plan(0.0))) == 3
    made.restrict(1)
    assert opened(made.plan(1.0)) == 0
    assert made.ended(0, 0, ACCEPTED, 1.0, is_usable=True)
    add(made, 1, 1.0)
    assert started(made.plan(1.0)) == []


def test_a_process_that_notices_ends_late_does_not_take_that_for_a_slow_site() -> None:
    made = planner(2_400, limits=replace(LIMITS, max_messages_per_connection=10_000))
    made.plan(0.0)
    for connection in range(MOST):
        made.opened(connection, 0.0)
    carried = started(made.plan(0.0))
    for step in range(1, 11):
        for each in carried:
            # 20 of them end every 0.1 s; each has taken three rounds of a busy event loop.
            made.begun(each.connection, 0.1 * step - 0.3)
            assert made.ended(each.connection, each.message, ACCEPTED, 0.1 * step, is_usable=True)
        carried = started(made.plan(0.1 * step))
    waiting = made.messages - MOST
    assert made.wait_s(1.0) == pytest.approx(waiting / 200, rel=0.2)
    assert waiting * 0.3 / MOST > 2 * SLOW_S


def test_a_site_that_stops_to_answer_is_slow_soon_however_quick_it_was() -> None:
    made = planner(2_400, limits=replace(LIMITS, max_messages_per_connection=10_000))
    made.plan(0.0)
    made.opened(0, 0.0)
    (carried,) = started(made.plan(0.0))
    for step in range(1, 101):
        assert made.ended(0, carried.message, ACCEPTED, 0.01 * step, is_usable=True)
        (carried,) = started(made.plan(0.01 * step))
    assert made.wait_s(1.0) < 2 * SLOW_S
    assert made.wait_s(6.0) > 10 * SLOW_S


def test_a_site_gets_no_more_new_connections_per_second_than_it_may() -> None:
    made = planner(50, limits=replace(LIMITS, opens_per_s=2.0))
    assert opened(made.plan(0.0)) == 1
    assert opened(made.plan(0.4)) == 0
    assert opened(made.plan(0.5)) == 1
