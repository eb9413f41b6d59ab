"""What a group counts for itself is booked before any limit is looked at, and never exceeds one."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.group import LOOK_AGAIN, ROOM_PART, Group
from services.deliver.core.shaping.held_lease import LEASE_S
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import Unit, parse_limit
from services.deliver.core.shaping.room import LEAST_ROOM
from services.deliver.core.shaping.turns import LEAST_SURE_YIELD, LEAST_YIELD, MARGIN
from services.deliver.core.shaping.workers import Grant, Workers
from tests.support.limit_backlog import group_under

TO: Final = Destination("r.example", "mx.r.example", "big")
SIZE: Final = 100
LEASE: Final = 60.0
FEW: Final = 5.0
# The same of the limit on bytes, so that either may be the tighter one.
FEW_IN_BYTES: Final = st.sampled_from([3.0, 5.0, 8.0])


class Message(Struct):
    size_bytes: int = SIZE


class Limits:
    """Two groups that share a limit on messages and one on bytes; each has another of its own."""

    def __init__(self) -> None:
        self.workers = Workers(1, 0.0)
        self.by_message, self.by_byte = self._made("1000/s"), self._made("1MB/s", Unit.BYTES)
        self.own = [self._made("900/s"), self._made("800/s")]
        self.groups = [
            Group(TO, Party(name, "news", "s.example"), self._of(own), self.workers)
            for name, own in zip(("shop", "bank"), self.own, strict=True)
        ]
        self.all = [self.by_message, self.by_byte, *self.own]
        self._given: defaultdict[Allowance, float] = defaultdict(float)

    def _of(self, own: Allowance) -> tuple[Allowance, ...]:
        return self.by_message, self.by_byte, own

    def _made(self, text: str, unit: Unit = Unit.MESSAGES) -> Allowance:
        return Allowance(text, parse_limit(text, unit), self.workers)

    def grant(self, now: float, messages: float = LEASE, in_bytes: float = LEASE) -> None:
        """A lease for so many messages of each limit, and for so many of that on bytes."""
        for each in self.all:
            amount = in_bytes * SIZE if each is self.by_byte else messages
            self._given[each] += amount - each.ask(now).returned
            each.granted(Grant(amount, now, 0.0))

    def spent(self, now: float) -> list[float]:
        """For how many messages each limit was spent: what is not left, and was not given back."""
        return [self._spent(each, now) / each.cost(SIZE) for each in self.all]

    def _spent(self, of: Allowance, now: float) -> float:
        left = 0.0
        while of.ready_at(now, of.cost(SIZE)) == 0.0:
            of.take(now, of.cost(SIZE), 0)
            left += of.cost(SIZE)
        return self._given[of] - of.ask(now).returned - left


# A group takes several messages in turn, so that it takes them without a look at each limit.
STEPS: Final = st.tuples(st.integers(0, 1), st.sampled_from("jlttgbe"), st.integers(1, 8))


@given(st.lists(STEPS, max_size=40), FEW_IN_BYTES)
def test_each_limit_counts_what_all_groups_took_and_no_lease_is_exceeded(
    steps: list[tuple[int, str, int]], in_bytes: float
) -> None:
    limits = Limits()
    asked_at, now = 100.0, 100.0 + LEASE_S / 2
    waiting, taken = [0, 0], [0, 0]
    limits.grant(asked_at, FEW, in_bytes)
    for which, step in ((which, step) for which, step, times in steps for _ in range(times)):
        group = limits.groups[which]
        match step:
            case "j":
                group.joined(1)
                waiting[which] += 1
            case "l" if waiting[which]:
                group.joined(-1)
                waiting[which] -= 1
            case "t":
                group.joined(1)
                if group.admit(Message(), now, 1) == 0.0:
                    group.joined(-1)
                    taken[which] += 1
                else:
                    waiting[which] += 1
            case "g":
                limits.grant(asked_at, FEW, in_bytes)
            case "b":
                limits.workers.book()
            case "e":
                limits.own[which].expire(now)
    limits.workers.book()
    assert limits.workers.waiting == sum(waiting)
    assert [each.waiting for each in limits.all] == [sum(waiting), sum(waiting), *waiting]
    assert limits.spent(now) == [sum(taken), sum(taken), *taken]


@pytest.mark.parametrize("which", [[0] * 100, [0, 1] * 50])
@pytest.mark.parametrize(("messages", "in_bytes"), [(60, 60), (5, 50), (50, 5)])
@pytest.mark.parametrize("after_s", [0.0, LEASE_S / 2])
def test_exactly_the_tightest_lease_is_taken_whichever_groups_take_it(
    which: list[int], messages: int, in_bytes: int, after_s: float
) -> None:
    limits = Limits()
    limits.grant(100.0, messages, in_bytes)
    taken = 0
    for each in which:
        limits.groups[each].joined(1)
        if limits.groups[each].admit(Message(), 100.0 + after_s, 1) == 0.0:
            taken += 1
    assert taken == min(messages, in_bytes)
    assert limits.spent(100.0 + after_s)[:2] == [taken, taken]


def test_nothing_is_taken_of_a_lease_that_has_ended() -> None:
    limits = Limits()
    limits.grant(100.0)
    group = limits.groups[0]
    assert group.admit(Message(), 100.0, 1) == 0.0
    assert group.admit(Message(), 100.0, 1) == 0.0
    assert group.admit(Message(), 100.0 + LEASE_S, 1) != 0.0


def test_a_message_that_is_larger_than_what_is_left_of_the_bytes_takes_nothing() -> None:
    limits = Limits()
    limits.grant(100.0)
    one, other = limits.groups
    assert one.admit(Message(), 100.0, 1) == 0.0
    assert one.admit(Message(int(LEASE * SIZE)), 100.0, 1) != 0.0
    assert other.admit(Message(), 100.0, 1) == 0.0


@pytest.mark.parametrize(
    ("limit", "waiting", "times"),
    [
        pytest.param("1000/s", 0, LOOK_AGAIN, id="much room"),
        pytest.param("50/s", 0, 100 * ROOM_PART, id="a part of it"),
        pytest.param("50/s", 50, 50 * ROOM_PART, id="a part of what is left"),
        pytest.param("50/s", 98, 0, id="hardly any"),
    ],
)
def test_room_is_looked_for_again_after_a_few_messages(
    limit: str, waiting: int, times: float
) -> None:
    _, group = group_under(limit, Workers(1, 0.0))
    group.joined(waiting)
    assert not group.has_room()
    assert group.full(100.0) is None
    found = [group.has_room() for _ in range(LOOK_AGAIN + 1)]
    assert found == [True] * int(times) + [False] * (LOOK_AGAIN + 1 - int(times))


def test_a_lease_is_used_up_without_a_look_at_each_limit_while_the_next_one_is_asked_for() -> None:
    of, group = group_under("1000/s", Workers(1, 0.0))
    of.ask(99.95)
    of.granted(Grant(LEASE, 100.0, 0.0))
    asks = 0
    for _ in range(int(LEASE)):
        asks += of.is_wanted(100.0)
        if of.is_wanted(100.0):
            of.ask(100.0)
        assert group.admit(Message(), 100.0, 1) == 0.0
    assert asks == 1, "one is under way"
    assert group.admit(Message(), 100.0, 1) != 0.0


def test_only_a_limit_whose_mail_another_one_held_up_doubts_that_it_is_used_little() -> None:
    workers = Workers(1, 0.0)
    free, tight = (Allowance(key, parse_limit("100/s"), workers) for key in ("free", "tight"))
    group = Group(TO, Party("shop", "news", "s.example"), (free, tight), workers)
    group.joined(1)
    for second in range(60):
        for each in (free, tight):
            each.ask(second)
            each.granted(Grant(10, second, 0.0))
        assert [group.admit(Message(), second, 1) for _ in range(10)] == [0.0] * 10
        tight.ask(second)
        tight.granted(Grant(0, second, 0.5))
        assert group.admit(Message(), second, 1) == second + 0.5
        for each in (free, tight):
            each.expire(second)
    for each, part in ((free, LEAST_YIELD), (tight, LEAST_SURE_YIELD)):
        first_s = each.turn_s(60)
        assert each.turn_s(60) - first_s == pytest.approx(1 / (100 * part * MARGIN))


def test_a_source_that_warms_up_overflows_by_what_its_group_has_not_booked_yet() -> None:
    workers = Workers(1)
    warmup = Allowance("source:mx3", parse_limit("60 in 1d"), workers)
    group = Group(TO, Party("shop", "news", "s.example"), (warmup,), workers, warmup)
    group.joined(LEAST_ROOM - 1)
    assert not group.overflows(100.0)
    group.joined(1)
    assert group.overflows(100.0)


def test_mail_that_has_left_its_line_makes_no_room_under_a_window_that_is_used_up() -> None:
    workers = Workers(1, 0.0)
    day = Allowance("source:mx3", parse_limit("60 in 1d"), workers)
    group = Group(TO, Party("shop", "news", "s.example"), (day,), workers)
    group.joined(40)
    day.granted(Grant(0.0, 100.0, 3_600.0))
    group.joined(-30)
    assert group.full(100.0, is_back=True) is day
    assert not group.has_room()
