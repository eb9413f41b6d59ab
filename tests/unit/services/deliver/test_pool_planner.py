"""The planner of one site's pool: which message goes over which connection, and when."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.deliver.core.attempt.results import Broken, NoConnection, TransactionResult
from services.deliver.core.pool.planner import (
    ALL_BUSY,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Fail,
    Open,
    PoolLimits,
    Quit,
    SitePlanner,
    Start,
    is_stale,
)
from shared.smtp.client.session import Unsendable
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import make_reply

LIMITS = PoolLimits(
    max_connections=3, max_messages_per_connection=2, idle_timeout_s=5.0, max_wait_s=60.0
)
ACCEPTED = Finished(Stage.CONTENT, make_reply(250, "2.0.0 ok"))
LOST = Broken("The connection was lost", answered=False, in_doubt=False)
GOODBYE = Finished(Stage.MAIL, make_reply(421, "4.4.2 idle for too long"))
FAULT = NoConnection("mx:25: refused")

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
    assert made.plan(60.0) == [Fail("b", ALL_BUSY)]


def test_after_a_failure_all_waiting_messages_fail_and_none_is_tried_during_the_pause() -> None:
    made = planner(messages="ab")
    assert made.plan(0.0) == [Open(), Open()]
    made.open_failed(FAULT, 0.0)
    assert made.plan(0.0) == [Fail("a", FAULT), Fail("b", FAULT)]
    made.open_failed(FAULT, 0.0)  # started together with the first: one failure
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
        (GOODBYE, True, False),
        (replace(GOODBYE, stage=Stage.RSET), True, False),
        (replace(GOODBYE, stage=Stage.RCPT), False, False),
        (Finished(Stage.MAIL, make_reply(451, "4.3.0 later")), False, False),
        (Unsendable.SMTPUTF8, False, False),
    ],
)
def test_only_a_used_connection_that_ended_before_the_message_could_start_is_stale(
    result: TransactionResult, is_known_used: bool, is_known_new: bool
) -> None:
    assert is_stale(result, 2) is is_known_used
    assert is_stale(result, 1) is is_known_new


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


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3))
def test_every_message_gets_exactly_one_end_within_the_limits_whatever_happens(
    seed: int, max_connections: int, per_connection: int
) -> None:
    limits = PoolLimits(max_connections, per_connection, idle_timeout_s=1.0, max_wait_s=20.0)
    world = World(limits, Random(seed))
    for step in range(300):
        world.act(is_adding=step < 200)
    for _ in range(200):
        world.calm()
    assert world.ends == Counter(dict.fromkeys(range(world.added), 1))
    assert world.planner.is_empty


class World:
    """An edge that does at random what servers and workers do, and checks each step."""

    def __init__(self, limits: PoolLimits, random: Random) -> None:
        self.limits = limits
        self.random = random
        self.planner: SitePlanner[int, int] = SitePlanner(limits)
        self.now = 0.0
        self.added = self.opened = self.opening = 0
        self.ends: Counter[int] = Counter()
        self.idle: set[int] = set()
        self.busy: dict[int, int] = {}
        self.quitting: set[int] = set()

    def act(self, is_adding: bool) -> None:
        choices = ["tick", "open", "open", "fail", "end", "end", "lose", "close"]
        getattr(self, self.random.choice(choices + ["add"] * 4 * is_adding))()
        self.carry_out()

    def calm(self) -> None:
        """Everything works, and time passes."""
        for action in (self.tick, self.open, self.end, self.leave):
            action()
            self.carry_out()

    def carry_out(self) -> None:
        for step in self.planner.plan(self.now):
            match step:
                case Open():
                    self.opening += 1
                case Start(connection, message):
                    self.idle.remove(connection)
                    self.busy[connection] = message
                case Quit(connection):
                    self.idle.remove(connection)
                    self.quitting.add(connection)
                case Fail(message, _):
                    self.ends[message] += 1
        there = len(self.idle) + len(self.busy) + len(self.quitting)
        assert there == len(self.planner.connections)
        assert there + self.opening <= self.limits.max_connections

    def add(self) -> None:
        self.planner.added(self.added, self.now)
        self.added += 1

    def tick(self) -> None:
        self.now += self.random.random()

    def open(self) -> None:
        if self.opening:
            self.opening -= 1
            self.idle.add(self.opened)
            self.planner.opened(self.opened, self.now)
            self.opened += 1

    def fail(self) -> None:
        if self.opening:
            self.opening -= 1
            self.planner.open_failed(FAULT, self.now)

    def end(self) -> None:
        """A transaction ends with an answer."""
        if self.busy:
            connection = self.random.choice(sorted(self.busy))
            message = self.busy.pop(connection)
            assert self.planner.ended(connection, message, ACCEPTED, self.now, is_usable=True)
            self.ends[message] += 1
            self.idle.add(connection)

    def lose(self) -> None:
        """A connection breaks in its transaction."""
        if self.busy:
            connection = self.random.choice(sorted(self.busy))
            message = self.busy.pop(connection)
            result = self.random.choice((LOST, GOODBYE, replace(LOST, in_doubt=True)))
            if self.planner.ended(connection, message, result, self.now, is_usable=False):
                self.ends[message] += 1
            self.planner.closed(connection)

    def close(self) -> None:
        """The server closes a connection that has no transaction."""
        without = sorted(self.idle | self.quitting)
        if without:
            connection = self.random.choice(without)
            self.idle.discard(connection)
            self.quitting.discard(connection)
            self.planner.closed(connection)

    def leave(self) -> None:
        """All that are ending end."""
        for connection in sorted(self.quitting):
            self.planner.closed(connection)
        self.quitting.clear()
