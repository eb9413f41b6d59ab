"""When a process takes over the work that another one did for all."""

from __future__ import annotations

from shared.runtime.clock import FakeClock
from shared.stream.topic_follower import Silence

AFTER_S = 15.0


def test_where_nothing_was_ever_written_the_first_look_is_enough() -> None:
    assert Silence(FakeClock(), AFTER_S).has_begun(None)


def test_while_marks_come_nobody_else_writes() -> None:
    clock = FakeClock()
    silence = Silence(clock, AFTER_S)
    for mark in range(5):
        assert not silence.has_begun(mark)
        clock.go_on(AFTER_S - 1)
        assert not silence.has_begun(mark)


def test_after_the_last_mark_another_one_takes_over() -> None:
    clock = FakeClock()
    silence = Silence(clock, AFTER_S)
    assert not silence.has_begun("mark")
    clock.go_on(AFTER_S)
    assert silence.has_begun("mark")
    assert not silence.has_begun("another mark"), "somebody writes after all"


def test_marks_that_are_gone_are_a_change_too() -> None:
    clock = FakeClock()
    silence = Silence(clock, AFTER_S)
    assert not silence.has_begun("mark")
    assert not silence.has_begun(None)
    clock.go_on(AFTER_S)
    assert silence.has_begun(None)


def test_who_looks_anew_waits_anew() -> None:
    clock = FakeClock()
    silence = Silence(clock, AFTER_S)
    silence.has_begun("mark")
    clock.go_on(AFTER_S)
    silence.forget()
    assert not silence.has_begun("mark")


def test_a_writer_whose_turns_take_long_is_waited_for_longer() -> None:
    clock = FakeClock()
    silence = Silence(clock, AFTER_S)
    assert not silence.has_begun("mark", 20)
    clock.go_on(AFTER_S + 19)
    assert not silence.has_begun("mark", 20)
    clock.go_on(1)
    assert silence.has_begun("mark", 20)


def test_after_another_one_took_over_the_time_begins_again_though_it_wrote_nothing_yet() -> None:
    clock = FakeClock()
    for mark in (None, "mark"):
        silence = Silence(clock, AFTER_S)
        silence.has_begun(mark)
        clock.go_on(AFTER_S)
        silence.restart(mark)
        assert not silence.has_begun(mark)
        clock.go_on(AFTER_S)
        assert silence.has_begun(mark)
