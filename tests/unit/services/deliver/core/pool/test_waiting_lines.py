"""The waiting lines of a site, with gates that close."""

from __future__ import annotations

from services.deliver.core.pool.planner import PoolLimits, SitePlanner
from services.deliver.core.pool.steps import Open, Start
from services.deliver.core.pool.waiting import Waiting
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply


class CountingGate:
    """Admits so many messages, then says when to come again."""

    def __init__(self, admits: int, then: float = 9.0) -> None:
        self.admits = admits
        self.then = then
        self.waiting = 0

    def admit(self, message: str, now: float, waiting: int) -> float:
        if not self.admits:
            return self.then
        self.admits -= 1
        return 0.0

    def joined(self, count: int) -> None:
        self.waiting += count


def taken(lines: Waiting[str]) -> list[str]:
    found = []
    while (each := lines.take(0.0)) is not None:
        found.append(each[0])
    return found


def test_a_closed_line_is_passed_over_and_keeps_its_order() -> None:
    lines: Waiting[str] = Waiting()
    closed, opened = CountingGate(1), CountingGate(9)
    for name in ("a1", "a2", "a3"):
        lines.add(name, 0.0, closed)
    for name in ("b1", "b2"):
        lines.add(name, 0.0, opened)
    assert taken(lines) == ["a1", "b1", "b2"]
    assert (len(lines), closed.waiting, opened.waiting) == (2, 2, 0)
    assert lines.blocked_until == 9.0
    closed.admits = 2
    assert taken(lines) == ["a2", "a3"]
    assert lines.blocked_until == 0.0


def test_open_lines_take_turns() -> None:
    lines: Waiting[str] = Waiting()
    one, other = CountingGate(9), CountingGate(9)
    for number in range(2):
        lines.add(f"a{number}", 0.0, one)
        lines.add(f"b{number}", 0.0, other)
    assert taken(lines) == ["a0", "b0", "a1", "b1"]


def test_messages_can_be_removed_by_age_from_the_end_and_by_line() -> None:
    lines: Waiting[str] = Waiting()
    gate = CountingGate(0)
    for number in range(4):
        lines.add(f"g{number}", float(number), gate)
    lines.add("first", 0.5, None)
    assert lines.take_older(0.5) == ["g0", "first"]
    assert lines.take_last(1) == ["g3"]
    lines.add("back", 0.0, gate, is_first=True)
    assert lines.take_line(gate) == ["back", "g1", "g2"]
    assert (len(lines), gate.waiting) == (0, 0)


def test_a_message_that_came_back_is_removed_by_the_age_it_had() -> None:
    lines: Waiting[str] = Waiting()
    lines.add("new", 5.0, None)
    assert lines.take_older(4.0) == []
    lines.add("back", 1.0, None, is_first=True)
    assert lines.take_older(0.5) == []
    assert lines.take_older(1.0) == ["back"]
    assert lines.take_older(4.9) == []
    assert lines.take_older(5.0) == ["new"]
    lines.add("last", 6.0, None)
    assert lines.take_older(6.0) == ["last"]


def test_a_site_whose_mail_waits_for_a_limit_opens_no_further_connections() -> None:
    planner: SitePlanner[str, int] = SitePlanner(PoolLimits())
    gate = CountingGate(0)
    planner.added("a", 0.0, gate)
    assert planner.plan(0.0) == [Open()]
    planner.opened(1, 0.0)
    for number in range(50):
        planner.added(str(number), 0.0, gate)
    assert planner.plan(0.0) == []
    assert planner.blocked_until == 9.0
    gate.admits = 1
    assert planner.plan(0.5) == [Start(1, "a")]


def test_a_site_whose_mail_waits_for_a_limit_is_not_a_slow_one() -> None:
    planner: SitePlanner[str, int] = SitePlanner(PoolLimits(max_connections=1))
    gate = CountingGate(1)
    for number in range(500):
        planner.added(str(number), 0.0, gate)
    planner.plan(0.0)
    planner.opened(1, 0.0)
    assert planner.plan(0.0) == [Start(1, "0")]
    assert planner.wait_s(30.0) > 0, "the site has not answered for 30 s"
    accepted = Finished(Stage.CONTENT, Reply(250, "2.0.0", "Ok"))
    assert planner.ended(1, "0", accepted, 30.0, is_usable=True)
    assert planner.wait_s(30.0) > 0
    assert planner.plan(30.0) == []
    assert planner.wait_s(30.0) == 0.0, "a connection is idle, and a limit holds the mail"
