"""Mail whose turn has come stays on its topic while its limit has no room."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.shaping.holds import (
    EARLY_LOOK_S,
    LEAST_S,
    LOOK_S,
    MOST_S,
    RetryHolds,
)
from services.deliver.core.shaping.room import FILL_S
from services.deliver.core.shaping.workers import Grant, Workers
from shared.topics.names import HANDOVER, deferred
from shared.topics.records import Envelope
from tests.support.limit_backlog import RATE, Backlog, group_under
from tests.support.pool_talk import envelope

DUE_MS = 1_000_000
ROOM = 2_000


def back(recipient: str = "a@big.example") -> Envelope:
    return replace(envelope(recipient), due_at_ms=DUE_MS)


def turned(recipient: str = "a@big.example") -> Envelope:
    return replace(back(recipient), turn_at_ms=DUE_MS)


class Filled:
    """A group under one limit of 100 messages per second, so 1,000 that are back may wait."""

    def __init__(self, limit: str = "100/s", room: int = 20_000) -> None:
        self.workers = Workers(1, local_until=0.0, room=room)
        self.limit, self.group = group_under(limit, self.workers)
        self.is_suspended = False
        self.now = 100.0
        self.holds = RetryHolds(lambda _: self.is_suspended, lambda: self.now)
        self.holds.note(back(), self.group)

    def hold_s(self, *, late_s: float = 0.0, more: int = 0, topic: str = deferred("1m")) -> float:
        return self.holds.wait_s(topic, back(), more, -late_s)

    def early(self, envelope: Envelope, due_in_s: float = 60.0) -> bool:
        found = self.holds.wait_s(deferred("5m"), envelope, 0, due_in_s)
        assert found in {0.0, EARLY_LOOK_S, due_in_s}
        return found == 0.0


@pytest.mark.parametrize(
    ("waiting", "more", "held"), [(0, 0, False), (749, 0, False), (749, 1, True), (750, 0, True)]
)
def test_mail_is_held_while_its_limit_is_nearly_full(waiting: int, more: int, held: bool) -> None:
    at = Filled()
    at.group.joined(waiting)
    assert at.hold_s(more=more) == (LOOK_S if held else 0.0)
    at.workers.book()
    assert at.hold_s(more=more) == (LOOK_S if held else 0.0), "booked or not"


@pytest.mark.parametrize(("waiting", "held"), [(30, False), (40, True)])
def test_it_is_held_earlier_while_mail_that_waits_for_limits_takes_half_of_the_room(
    waiting: int, held: bool
) -> None:
    at = Filled(room=ROOM)
    at.group.joined(waiting)
    at.workers.waiting = ROOM // 2
    assert bool(at.hold_s()) == held


@pytest.mark.parametrize(
    ("step", "most_s"), [("1m", LEAST_S), ("5m", 60.0), ("15m", 180.0), ("12h", MOST_S)]
)
def test_no_record_is_held_longer_than_those_of_its_topic_may_be_late(
    step: str, most_s: float
) -> None:
    at = Filled()
    at.group.joined(1_000)
    assert at.hold_s(late_s=most_s - 1, topic=deferred(step)) == LOOK_S
    assert at.hold_s(late_s=most_s, topic=deferred(step)) == 0.0


def test_other_mail_is_not_held() -> None:
    at = Filled()
    at.group.joined(1_000)
    topic = deferred("1m")
    assert at.holds.wait_s(topic, back("a@other.example"), 0, 0.0) == 0.0
    assert at.holds.wait_s(topic, replace(back(), client="other"), 0, 0.0) == 0.0
    assert at.holds.wait_s(HANDOVER, back(), 0, 0.0) == 0.0


def test_mail_of_a_limit_whose_site_is_slow_is_held_and_no_other_mail_of_that_site() -> None:
    at = Filled()
    at.holds.slow_sites = frozenset({"big"})
    assert at.holds.wait_s(deferred("1m"), turned(), 0, 0.0) == LOOK_S
    assert at.holds.wait_s(deferred("1m"), back(), 0, 0.0) == 0.0
    assert not at.early(turned())


def test_mail_whose_turn_is_to_come_is_read_as_its_limit_allows_while_little_waits() -> None:
    at = Filled()
    assert [at.early(turned()) for _ in range(51)] == [True] * 50 + [False]
    at.now += FILL_S
    assert at.early(turned())
    at.group.joined(50)
    at.now += FILL_S
    assert not at.early(turned())


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param(back(), id="a retry after an attempt"),
        pytest.param(replace(turned(), due_at_ms=DUE_MS + 1), id="deferred for something else"),
        pytest.param(replace(back(), due_at_ms=0), id="not deferred"),
        pytest.param(turned("a@other.example"), id="unknown"),
    ],
)
def test_other_mail_is_not_read_before_it_is_due(envelope: Envelope) -> None:
    assert Filled().holds.wait_s(deferred("5m"), envelope, 0, 60.0) == 60.0


def test_mail_that_is_suspended_is_not_read_before_it_is_due() -> None:
    at = Filled()
    at.is_suspended = True
    assert not at.early(turned())


def test_mail_is_looked_at_often_or_when_it_is_due() -> None:
    at = Filled()
    at.is_suspended = True
    assert at.holds.wait_s(deferred("5m"), turned(), 0, 60.0) == EARLY_LOOK_S
    assert at.holds.wait_s(deferred("5m"), turned(), 0, 0.1) == 0.1


def test_mail_of_a_window_that_is_used_up_is_not_held() -> None:
    at = Filled("100 in 1h")
    at.limit.granted(Grant(0.0, 1.0, 3_000.0, 100.0))
    at.group.joined(1_000)
    assert at.hold_s() == 0.0
    assert not at.early(turned())


@pytest.mark.parametrize("sends_per_s", [150.0, 100.0, 70.0])
def test_a_process_that_takes_its_backlog_in_faster_than_it_sends_writes_no_body_again(
    sends_per_s: float,
) -> None:
    held = Backlog(0.0, sends_per_s=sends_per_s, room=ROOM)
    held.run(6_000, 3_000.0)
    assert max(held.turned_away.values()) == 1
    assert len(held.sent) == 6_000


def test_a_backlog_that_came_while_the_process_was_busy_goes_at_its_limit_afterwards() -> None:
    held = Backlog(0.0, sends_per_s=RATE * 0.5, room=ROOM)
    held.run(8_000, 800.0, then_per_s=10_000.0)
    assert max(held.turned_away.values()) == 1
    came_s = 8_000 / 800
    later = [at for at in held.sent if at > came_s + 5]
    assert len(later) / (later[-1] - later[0]) > RATE * 0.97


@pytest.mark.parametrize(("holds", "most"), [(True, 1), (False, 2)])
def test_a_process_that_gets_slower_after_its_turns_were_given_writes_no_body_again(
    holds: bool, most: int
) -> None:
    backlog = Backlog(0.0, holds=holds, room=ROOM)
    backlog.run(8_000, 800.0, then_per_s=RATE * 0.7)
    assert min(max(backlog.turned_away.values()), 2) == most
