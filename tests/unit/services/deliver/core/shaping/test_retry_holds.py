"""Mail whose turn has come stays on its topic while its limit has no room."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import parse_limit
from services.deliver.core.shaping.retry_holds import LEAST_S, LOOK_S, MOST_S, RetryHolds
from services.deliver.core.shaping.workers import Grant, Workers
from shared.topics.names import HANDOVER, deferred
from shared.topics.records import Envelope
from tests.support.limit_backlog import RATE, Backlog
from tests.support.pool_talk import envelope

DUE_MS = 1_000_000
ROOM = 2_000


def back(recipient: str = "a@big.example") -> Envelope:
    return replace(envelope(recipient), due_at_ms=DUE_MS)


class Filled:
    """A group under one limit of 100 messages per second, so 1,000 that are back may wait."""

    def __init__(self, limit: str = "100/s", room: int = 20_000) -> None:
        self.workers = Workers(1, local_until=0.0, room=room)
        self.limit = Allowance("provider:big", parse_limit(limit), self.workers)
        to = Destination("big.example", "big", "big")
        self.group = Group(to, Party("shop", "", "shop.example"), (self.limit,), self.workers)
        self.holds = RetryHolds()
        self.holds.note(back(), self.group)

    def hold_s(self, *, late_s: float = 0.0, more: int = 0, topic: str = deferred("1m")) -> float:
        return self.holds.hold_s(topic, back(), DUE_MS + int(late_s * 1000), more)


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
    assert at.holds.hold_s(topic, back("a@other.example"), DUE_MS, 0) == 0.0
    assert at.holds.hold_s(topic, replace(back(), client="other"), DUE_MS, 0) == 0.0
    assert at.holds.hold_s(topic, replace(back(), due_at_ms=0), DUE_MS, 0) == 0.0
    assert at.holds.hold_s(HANDOVER, back(), DUE_MS, 0) == 0.0


def test_mail_of_a_window_that_is_used_up_is_not_held() -> None:
    at = Filled("100 in 1h")
    at.limit.granted(Grant(0.0, 1.0, 3_000.0, 100.0))
    at.group.joined(1_000)
    assert at.hold_s() == 0.0


@pytest.mark.parametrize("sends_per_s", [150.0, 100.0, 70.0])
def test_a_process_that_gets_slower_when_its_turns_are_given_writes_no_body_again(
    sends_per_s: float,
) -> None:
    """It takes its backlog in at full speed, and has less processor time afterwards."""
    held = Backlog(0.0, sends_per_s=sends_per_s, holds=True, room=ROOM)
    held.run(6_000, 3_000.0)
    assert max(held.turned_away.values()) == 1
    assert len(held.sent) == 6_000


def test_without_holding_it_would_write_bodies_again() -> None:
    backlog = Backlog(0.0, sends_per_s=RATE * 0.5, room=ROOM)
    backlog.run(6_000, 3_000.0)
    assert max(backlog.turned_away.values()) > 1
