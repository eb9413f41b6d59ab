"""The planner of one site's pool: which message goes over which connection, and when."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.attempt.results import (
    Busy,
    TransactionResult,
    costs_nothing,
)
from services.deliver.core.pool.planner import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PoolLimits,
    SitePlanner,
)
from services.deliver.core.pool.steps import Fail, Open, Quit, Start, Step
from shared.smtp.events import Finished, Stage
from shared.smtp.extensions import Unsendable
from shared.smtp.reply import make_reply
from tests.support.pool_ends import ACCEPTED, FAULT, GOODBYE, LOST

LIMITS = PoolLimits(
    max_connections=3, max_messages_per_connection=2, idle_timeout_s=5.0, max_wait_s=60.0
)

Planner = SitePlanner[str, int]


def planner(limits: PoolLimits = LIMITS, messages: str = "", connections: int = 0) -> Planner:
    """A planner with connections that are idle, and with messages that wait."""
    made = Planner(limits)
    for number in range(connections):
        made.added(f"opener {number}", 0.0)
    assert made.plan(0.0) == [Open()] * connections
    made.withdraw_all()
    for number in range(connections):
        made.opened(number, 0.0)
    for message in messages:
        made.added(message, 0.0)
    return made


def end(made: Planner, connection: int, message: str, at: float = 0.0) -> None:
    assert made.ended(connection, message, ACCEPTED, at, is_usable=True)


def turned_away(steps: list[Step[str, int]]) -> list[str]:
    """The messages that get a later turn, in the order of their turns."""
    turns = [
        (step.fault.delay_s, step.message)
        for step in steps
        if isinstance(step, Fail) and isinstance(step.fault, Busy)
    ]
    return [message for _, message in sorted(turns)]


@pytest.mark.parametrize(("waiting", "opened"), [(1, 1), (3, 3), (9, 3)])
def test_one_connection_is_opened_per_waiting_message_up_to_the_limit(
    waiting: int, opened: int
) -> None:
    made = planner(messages="abcdefghi"[:waiting])
    assert made.plan(0.0) == [Open()] * opened
    assert made.plan(0.0) == []


def test_messages_start_in_their_order_on_the_connections_that_are_idle() -> None:
    made = planner(connections=2, messages="abc")
    assert made.plan(0.0) == [Start(1, "a"), Start(0, "b"), Open()]
    end(made, 0, "b")
    assert made.plan(0.0) == [Start(0, "c")]


def test_a_connection_quits_after_its_number_of_messages() -> None:
    made = planner(replace(LIMITS, max_connections=1), connections=1, messages="abc")
    assert made.plan(0.0) == [Start(0, "a")]
    end(made, 0, "a")
    assert made.plan(0.0) == [Start(0, "b")]
    end(made, 0, "b")
    assert made.plan(0.0) == [Quit(0)]
    made.closed(0)
    assert made.plan(0.0) == [Open()]


def test_an_idle_connection_quits_at_its_time_out_and_is_not_used_afterwards() -> None:
    made = planner(connections=2, messages="a")
    assert made.plan(3.0) == [Start(1, "a")]
    end(made, 1, "a", 3.0)
    assert made.plan(4.9) == []
    assert made.plan(5.0) == [Quit(0)]
    made.added("b", 5.0)
    assert made.plan(5.0) == [Start(1, "b")]


def test_a_message_that_no_connection_took_in_time_fails() -> None:
    made = planner(replace(LIMITS, max_connections=1), connections=1, messages="ab")
    assert made.plan(0.0) == [Start(0, "a")]
    assert made.plan(59.9) == []
    assert turned_away(made.plan(60.0)) == ["b"]


def test_after_a_failure_all_waiting_messages_fail_and_none_is_tried_during_the_pause() -> None:
    made = planner(messages="ab")
    assert made.plan(0.0) == [Open(), Open()]
    made.open_failed(FAULT, 0.0)
    assert made.plan(0.0) == [], "another connection is being opened"
    made.open_failed(FAULT, 0.0)  # started together with the first: one failure
    assert made.plan(0.0) == [Fail("a", FAULT), Fail("b", FAULT)]
    made.added("c", 0.5)
    assert made.plan(0.5) == [Fail("c", FAULT)]
    for message in "def":
        made.added(message, FIRST_PAUSE_S)
    assert made.plan(FIRST_PAUSE_S) == [Open()]  # one, to find out whether the site answers again


def test_the_pause_doubles_up_to_the_longest_and_ends_with_a_connection() -> None:
    made, now, pauses = planner(), 0.0, []
    for _ in range(9):
        made.added("a", now)
        assert made.plan(now) == [Open()]
        made.open_failed(FAULT, now)
        assert made.plan(now) == [Fail("a", FAULT)]
        pause = next(s for s in range(200) if not made.is_paused(now + s))
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    for message in "bcd":
        made.added(message, now)
    assert made.plan(now) == [Open()]
    made.opened(0, now)
    assert made.plan(now) == [Start(0, "b"), Open(), Open()]


def test_during_a_pause_open_connections_are_used_and_the_other_messages_wait() -> None:
    made = planner(connections=1, messages="abc")
    assert made.plan(0.0) == [Start(0, "a"), Open(), Open()]
    made.open_failed(FAULT, 0.0)
    made.open_failed(FAULT, 0.0)
    assert made.plan(0.0) == []
    end(made, 0, "a")
    assert made.plan(0.5) == [Start(0, "b")]


@pytest.mark.parametrize(
    ("result", "is_known_used", "is_known_new"),
    [
        (ACCEPTED, False, False),
        (LOST, True, False),
        (replace(LOST, answered=True), False, False),
        (replace(LOST, in_doubt=True), False, False),
        (replace(LOST, answered=True, is_form_refused=True), True, True),
        (GOODBYE, True, False),
        (replace(GOODBYE, stage=Stage.RSET), True, False),
        (replace(GOODBYE, stage=Stage.RCPT), False, False),
        (Finished(Stage.MAIL, make_reply(451, "4.3.0 later")), False, False),
        (Finished(Stage.MAIL, make_reply(503, "5.5.1 nested MAIL command")), True, False),
        (Finished(Stage.RCPT, make_reply(503, "5.5.1 need MAIL")), False, False),
        (Finished(Stage.MAIL, make_reply(550, "too many messages in this session")), True, False),
        (Finished(Stage.MAIL, make_reply(452, "4.5.3 Max mails per connection")), True, False),
        (Finished(Stage.RCPT, make_reply(452, "recipients per session exceeded")), True, False),
        (Finished(Stage.RCPT, make_reply(452, "4.5.3 too many recipients")), False, False),
        (Finished(Stage.CONTENT, make_reply(550, "message limit per session")), False, False),
        (Finished(Stage.MAIL, make_reply(451, "Only one message per session")), True, False),
        (Finished(Stage.MAIL, make_reply(550, "too many connections")), False, False),
        (Finished(Stage.MAIL, make_reply(550, "5.7.1 sender refused")), False, False),
        (Unsendable.SMTPUTF8, False, False),
    ],
)
def test_only_a_used_connection_that_ended_before_the_message_could_start_costs_nothing(
    result: TransactionResult, is_known_used: bool, is_known_new: bool
) -> None:
    assert costs_nothing(result, 2) is is_known_used
    assert costs_nothing(result, 1) is is_known_new


def test_a_message_on_a_stale_connection_goes_first_over_another_one() -> None:
    made = planner(replace(LIMITS, max_connections=1), connections=1, messages="abc")
    made.plan(0.0)
    end(made, 0, "a")
    assert made.plan(0.0) == [Start(0, "b")]
    assert not made.ended(0, "b", LOST, 1.0, is_usable=False)
    assert made.plan(1.0) == []
    made.closed(0)
    assert made.plan(1.0) == [Open()]
    made.opened(1, 1.0)
    assert made.plan(1.0) == [Start(1, "b")]


def test_a_message_that_was_dropped_or_cannot_be_sent_costs_the_connection_nothing() -> None:
    made = planner(replace(LIMITS, max_connections=1), connections=1, messages="abcd")
    assert made.plan(0.0) == [Start(0, "a")]
    made.dropped(0, 0.0)
    assert made.plan(0.0) == [Start(0, "b")]
    assert made.ended(0, "b", Unsendable.SENDER, 0.0, is_usable=True)
    assert made.plan(0.0) == [Start(0, "c")]
    end(made, 0, "c")
    assert made.plan(0.0) == [Start(0, "d")]


def test_a_message_that_its_connection_did_not_take_waits_again_in_front() -> None:
    made = planner(replace(LIMITS, max_connections=1), connections=1, messages="ab")
    assert made.plan(0.0) == [Start(0, "a")]
    made.returned(0, "a")
    made.closed(0)
    assert made.plan(0.0) == [Open()]
    made.opened(1, 0.0)
    assert made.plan(0.0) == [Start(1, "a")]
