"""What a group counts for itself is booked before any limit is looked at, and never exceeds one."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.group import LOOK_AGAIN, Group
from services.deliver.core.shaping.held_lease import LEASE_S
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import Unit, parse_limit
from services.deliver.core.shaping.workers import Grant, Workers

TO: Final = Destination("r.example", "mx.r.example", "big")
SIZE: Final = 100
LEASE: Final = 60.0


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

    def _of(self, own: Allowance) -> tuple[Allowance, ...]:
        return self.by_message, self.by_byte, own

    def _made(self, text: str, unit: Unit = Unit.MESSAGES) -> Allowance:
        return Allowance(text, parse_limit(text, unit), self.workers)

    def grant(self, now: float) -> None:
        for each in self.all:
            each.ask(now)
            amount = LEASE * SIZE if each.limit.unit is Unit.BYTES else LEASE
            each.granted(Grant(amount, now, 0.0))


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from("jltgbe")), max_size=150))
def test_each_limit_counts_what_all_groups_took_and_no_lease_is_exceeded(
    steps: list[tuple[int, str]],
) -> None:
    limits = Limits()
    now, waiting, taken = 100.0, [0, 0], [0, 0]
    limits.grant(now)
    for which, step in steps:
        group = limits.groups[which]
        match step:
            case "j":
                group.joined(1)
                waiting[which] += 1
            case "l" if waiting[which]:
                group.joined(-1)
                waiting[which] -= 1
            case "t" if waiting[which] and group.admit(Message(), now, waiting[which]) == 0.0:
                group.joined(-1)
                waiting[which] -= 1
                taken[which] += 1
            case "g":
                limits.grant(now)
                taken = [0, 0]
            case "b":
                limits.workers.book()
            case "e":
                limits.own[which].expire(now)
        assert sum(taken) <= 2 * LEASE, "at most two leases are held"
    limits.workers.book()
    assert limits.workers.waiting == sum(waiting)
    assert [each.waiting for each in limits.all] == [sum(waiting), sum(waiting), *waiting]


@pytest.mark.parametrize("which", [[0] * 100, [0, 1] * 50])
def test_exactly_one_lease_is_taken_whichever_groups_take_it(which: list[int]) -> None:
    limits = Limits()
    limits.grant(100.0)
    taken = 0
    for each in which:
        limits.groups[each].joined(1)
        if limits.groups[each].admit(Message(), 100.0, 1) == 0.0:
            taken += 1
    assert taken == LEASE


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


def test_room_is_looked_for_again_after_a_few_messages() -> None:
    limits = Limits()
    group = limits.groups[0]
    assert not group.has_room()
    assert group.full(100.0) is None
    assert [group.has_room() for _ in range(LOOK_AGAIN + 1)] == [True] * LOOK_AGAIN + [False]
