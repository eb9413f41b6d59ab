"""For how long mail waits that a slow site turned away, in virtual time."""

from __future__ import annotations

import heapq
from itertools import pairwise

import pytest

from services.deliver.core.attempt.results import Busy
from services.deliver.core.pool.backlog import (
    FIRST_LONGEST_TURN_S,
    LONGEST_TURN_S,
    SLOW_AGAIN_S,
    Backlog,
)
from services.deliver.core.pool.planner import PoolLimits, SitePlanner
from services.deliver.core.pool.slow_sites import Room, SiteLoad, SlowSites
from services.deliver.core.pool.steps import Fail, Open, Quit, Start
from tests.support.pool_ends import ACCEPTED

STEP_S = 0.1
QUICK_S = 0.1


class Site:
    """A site that takes QUICK_S per message, but for those that are slow. Turned away mail comes
    back at its turn."""

    def __init__(self, slow: range, slow_s: float) -> None:
        self._slow, self._slow_s = slow, slow_s
        self._planner = SitePlanner[int, int](PoolLimits())
        self._slow_sites = SlowSites(Room(2_000, 1_000_000))
        self._connections = 0
        self._ends: list[tuple[float, int, int]] = []
        self._back: list[tuple[float, int]] = []
        self.turned_away = 0
        self.done: dict[int, float] = {}

    def come(self, messages: range, at: float) -> None:
        self._back += [(at, message) for message in messages]
        heapq.heapify(self._back)

    def run(self, until: float) -> None:
        for tick in range(int(until / STEP_S)):
            now = tick * STEP_S
            while self._back and self._back[0][0] <= now:
                self._planner.added(heapq.heappop(self._back)[1], now)
            while self._ends and self._ends[0][0] <= now:
                at, connection, message = heapq.heappop(self._ends)
                self._planner.ended(connection, message, ACCEPTED, at, is_usable=True)
                self.done[message] = at
            load = SiteLoad(self._planner.messages, 0, self._planner.wait_s(now), now)
            self._planner.restrict(self._slow_sites.shares({"site": load}, now).get("site"))
            self._plan(now)

    def _plan(self, now: float) -> None:
        steps = self._planner.plan(now)
        for step in steps:
            match step:
                case Open():
                    self._connections += 1
                    self._planner.opened(self._connections, now)
                case Quit(connection):
                    self._planner.closed(connection)
                case Start(connection, message):
                    takes_s = self._slow_s if message in self._slow else QUICK_S
                    heapq.heappush(self._ends, (now + takes_s, connection, message))
                case Fail(message, Busy(delay_s)):
                    self.turned_away += 1
                    heapq.heappush(self._back, (now + delay_s, message))
                case Fail():
                    raise AssertionError(step)
        if Open() in steps:
            self._plan(now)


def test_a_few_slow_transactions_hold_up_the_other_mail_of_the_site_for_minutes_only() -> None:
    """All connections are busy with them for a minute, and half of them come back first."""
    slow, quick = range(60), range(60, 860)
    site = Site(slow, 20.0)
    site.come(slow, 0.0)
    site.come(quick, 15.0)
    site.run(300.0)
    assert site.turned_away > 700, "or the test shows nothing"
    assert set(quick) <= set(site.done)
    assert max(site.done[message] for message in quick) < 180, "and not a quarter of an hour"


def test_mail_of_a_site_that_stays_slow_is_written_again_a_few_times_an_hour() -> None:
    messages = range(3_000)
    site = Site(messages, 60.0)
    site.come(messages, 0.0)
    site.run(3_600.0)
    assert len(site.done) > 0.9 * 20 * 60, "and the site has always mail"
    assert site.turned_away < 8 * len(messages)


def turned(of: Backlog, now: float, count: int = 1_000) -> list[float]:
    return of.turns(count, 0.0, lambda _: 20.0, now)


def test_nobody_waits_for_much_longer_than_the_site_has_been_slow() -> None:
    of, now = Backlog(), 1_000.0
    longest = []
    for _ in range(10):
        turns = turned(of, now)
        assert turns == sorted(turns)
        longest.append(turns[-1])
        now += turns[-1] + SLOW_AGAIN_S / 2
    assert longest[:2] == [pytest.approx(FIRST_LONGEST_TURN_S), pytest.approx(90.0)]
    assert all(next_s <= 3 * last_s for last_s, next_s in pairwise(longest))
    assert longest[-1] == pytest.approx(LONGEST_TURN_S)


def test_a_site_that_was_quick_in_between_is_slow_for_the_first_time_again() -> None:
    of = Backlog()
    turned(of, 0.0)
    assert not of.is_over(FIRST_LONGEST_TURN_S + SLOW_AGAIN_S - 1)
    now = FIRST_LONGEST_TURN_S + SLOW_AGAIN_S
    assert of.is_over(now)
    assert turned(of, now)[-1] == pytest.approx(FIRST_LONGEST_TURN_S)


def test_what_does_not_fit_into_the_longest_turn_comes_closer_together() -> None:
    turns = turned(Backlog(), 0.0, 600)
    gaps = [later - sooner for sooner, later in pairwise(turns[60:])]
    assert min(gaps) == pytest.approx(0.1)
    assert max(gaps) == pytest.approx(0.1)


def test_a_message_that_comes_after_the_longest_turn_was_given_gets_the_same_wait() -> None:
    of = Backlog()
    turned(of, 0.0)
    assert turned(of, 10.0, 1) == [FIRST_LONGEST_TURN_S]
    assert turned(of, 10.0, 0) == []
