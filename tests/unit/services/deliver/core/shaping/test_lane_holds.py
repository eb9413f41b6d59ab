"""How fast the lanes are read."""

from __future__ import annotations

from services.deliver.core.shaping.holds import MIXED_S, LaneHolds
from services.deliver.core.shaping.room import LEAST_ROOM
from services.deliver.core.shaping.suspensions import Action, Event, Suspensions
from shared.runtime.clock import FakeClock

KEY = "provider:google"


def clock() -> FakeClock:
    made = FakeClock()
    made.go_on(1_000)
    return made


def test_a_lane_is_read_up_to_what_its_provider_takes_in_two_seconds() -> None:
    lanes = LaneHolds(Suspensions(), clock().monotonic)
    assert lanes.hold_s("gmail", 0) == 0, "nothing is known yet"
    lanes.handed("gmail", range(100))
    assert lanes.is_of_one("gmail", KEY, 60.0)
    assert lanes.hold_s("gmail", 0) == 0
    assert lanes.hold_s("gmail", 20) > 0
    for job in range(90):
        lanes.begun("gmail", job)
    assert lanes.hold_s("gmail", 20) == 0


def test_a_slow_lane_has_room_for_one_pack() -> None:
    lanes = LaneHolds(Suspensions(), clock().monotonic)
    lanes.is_of_one("gmail", KEY, 0.1)
    assert lanes.hold_s("gmail", LEAST_ROOM - 1) == 0
    assert lanes.hold_s("gmail", LEAST_ROOM) > 0


def test_a_lane_without_a_limit_is_always_read() -> None:
    lanes = LaneHolds(Suspensions(), clock().monotonic)
    lanes.is_of_one("gmail", KEY, 0.0)
    assert lanes.hold_s("gmail", 100_000) == 0


def test_a_lane_is_not_read_while_its_provider_is_suspended() -> None:
    time, known = clock(), Suspensions()
    lanes = LaneHolds(known, time.monotonic)
    lanes.is_of_one("gmail", KEY, 0.0)
    known.happen(KEY, Event(Action.SUSPEND, 60, "421"), time.monotonic())
    assert lanes.hold_s("gmail", 0) > 0
    time.go_on(60)
    assert lanes.hold_s("gmail", 0) == 0


def test_a_lane_of_several_destinations_is_read_whatever_waits() -> None:
    time = clock()
    lanes = LaneHolds(Suspensions(), time.monotonic)
    assert not lanes.is_of_one("default", KEY, 1.0)
    assert lanes.is_of_one("gmail", KEY, 1.0)
    assert not lanes.is_of_one("gmail", "site:other", 1.0)
    assert lanes.hold_s("gmail", 1_000) == 0
    assert lanes.hold_s("default", 1_000) == 0
    time.go_on(MIXED_S)
    assert lanes.is_of_one("gmail", "site:other", 1.0)


def test_the_question_where_the_mail_of_a_lane_goes_records_nothing() -> None:
    time = clock()
    lanes = LaneHolds(Suspensions(), time.monotonic)
    assert not lanes.goes_to("gmail", KEY), "nothing is known yet"
    lanes.is_of_one("gmail", KEY, 0.1)
    assert lanes.goes_to("gmail", KEY)
    assert not lanes.goes_to("gmail", "provider:other")
    assert lanes.goes_to("gmail", KEY), "the other destination was only asked for"
    lanes.is_of_one("gmail", "provider:other", 0.1)
    assert not lanes.goes_to("gmail", KEY)
    assert not lanes.goes_to("gmail", "provider:other"), "the lane is mixed"
    time.go_on(MIXED_S)
    assert lanes.goes_to("gmail", "provider:other")
    assert not lanes.goes_to("default", KEY)
