"""Whatever a site does, every message has one end, and the limits hold."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.deliver.core.pool.planner import PoolLimits, SitePlanner
from services.deliver.core.pool.steps import Fail, Open, Quit, Start
from tests.support.pool_ends import ACCEPTED, FAULT, GOODBYE, LOST, TOO_MANY


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
        choices = ["tick", "open", "open", "fail", "refuse", "end", "end", "lose", "close", "bound"]
        getattr(self, self.random.choice(choices + ["add"] * 4 * is_adding))()
        self.carry_out()

    def calm(self) -> None:
        """Everything works, and time passes."""
        self.planner.restrict(None)
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

    def refuse(self) -> None:
        if self.opening:
            self.opening -= 1
            self.planner.open_failed(TOO_MANY, self.now)

    def bound(self) -> None:
        self.planner.restrict(self.random.choice((None, None, 0, 1, 5)))

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
