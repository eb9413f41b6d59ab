"""What one worker may send under one limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.group import Group
from services.deliver.core.shaping.held_lease import LEASE_S, SLOTS, HeldLease, WindowRecord
from services.deliver.core.shaping.keys import Destination, Party
from services.deliver.core.shaping.limits import Unit, parse_limit
from services.deliver.core.shaping.parsing import combine, parse_file
from services.deliver.core.shaping.room import CROWDED_ROOM, LEAST_ROOM
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.turns import (
    FIRST_YIELD,
    LONGEST_TURN_S,
    MARGIN,
    SHORTEST_TURN_S,
)
from services.deliver.core.shaping.workers import NEVER, Grant, Workers

NOW = 1_000.0
TO = Destination("r.example", "mx.r.example", "big")
SENDER = Party("shop", "news", "news.example.com")


class OfSize:
    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def allowance(text: str, workers: Workers | None = None, unit: Unit = Unit.MESSAGES) -> Allowance:
    return Allowance("provider:big", parse_limit(text, unit), workers or Workers(2, 0.0))


def group(text: str, workers: Workers) -> tuple[Throttle, Group]:
    rules = combine([parse_file(f"[provider.big]\nmx = ['r.example']\n{text}", "test")])
    throttle = Throttle(rules, workers)
    return throttle, throttle.group(TO, SENDER, 0.0)


def spend_all(of: Allowance, now: float) -> int:
    count = 0
    while of.ready_at(now, 1) == 0:
        of.take(now, 1, 0)
        count += 1
    return count


@pytest.mark.parametrize(
    ("after_s", "left"), [(0.0, 10), (LEASE_S - 0.001, 10), (LEASE_S, 0), (60.0, 0)]
)
def test_a_lease_is_not_spent_after_its_time(after_s: float, left: int) -> None:
    of = allowance("200/s")
    of.granted(Grant(10, NOW, 0.0))
    assert spend_all(of, NOW + after_s) == left
    returned = 10 if not left else 0
    assert of.ask(NOW + after_s).returned == returned


def test_a_worker_that_was_paused_for_a_minute_spends_nothing_of_what_it_took_before() -> None:
    workers = Workers(2, 0.0)
    throttle, sending = group("messages = '2000/s'", workers)
    (of,) = throttle.allowances
    of.granted(Grant(100, NOW, 0.0))
    assert [sending.admit(OfSize(1), NOW, 9) for _ in range(5)] == [0.0] * 5
    assert sending.admit(OfSize(1), NOW + 60, 9) == NEVER
    assert of.ask(NOW + 60).returned == 95


def test_two_leases_are_spent_in_their_order_each_within_its_own_time() -> None:
    lease = HeldLease()
    lease.add(10, NOW, 7)
    lease.add(5, NOW + 0.05, 8)
    assert lease.left(NOW + 0.05) == 15
    lease.spend(12)
    assert (lease.slot, lease.left(NOW + 0.05)) == (8, 3)
    assert lease.left(NOW + 0.05 + LEASE_S) == 0
    assert lease.asked(NOW + 1) == (3, 8)


def test_the_next_lease_is_as_large_as_what_is_spent_in_its_time() -> None:
    of = allowance("20000/s")
    of.granted(Grant(1, NOW, 0.0))
    of.take(NOW, 1, 100)
    assert of.ask(NOW).wanted == 100, "as much as waits"
    of.granted(Grant(100, NOW, 0.0))
    for _ in range(90):
        assert of.ready_at(NOW + 0.04, 1) == 0
        of.take(NOW + 0.04, 1, 0)
    assert of.is_wanted(NOW + 0.04), "before the lease is spent"
    assert of.ask(NOW + 0.04).wanted >= 90


def test_no_lease_is_larger_than_what_a_worker_may_send_in_its_time() -> None:
    of = allowance("200/s", Workers(2, 0.0))
    of.want(NOW, 1, 10_000)
    assert of.ask(NOW).wanted == 10


@pytest.mark.parametrize(("share", "count"), [("200/s", 3), ("1000/s", 10)])
def test_without_the_store_a_worker_keeps_to_its_share(share: str, count: int) -> None:
    workers = Workers(count)
    of = allowance(share, workers)
    sent, at = 0, NOW
    while at < NOW + 10:
        ready = of.ready_at(at, 1)
        if ready:
            at = ready
            continue
        of.take(at, 1, 5)
        sent += 1
    assert sent <= of.limit.per_s * 10 / count
    assert sent >= of.limit.per_s * 10 / count - 2


def test_a_share_of_a_window_is_what_was_left_at_the_last_answer() -> None:
    workers = Workers(2, 0.0)
    of = allowance("100 in 1h", workers)
    of.granted(Grant(10, NOW, 0.0, 60.0, 5))
    workers.local_until = NEVER
    assert spend_all(of, NOW) == 20
    assert NOW < of.ready_at(NOW, 1) < math.inf
    assert of.record.unreported(9) == {9: 20.0}


def spend_without_the_store(of: Allowance, workers: Workers) -> int:
    workers.local_until = NEVER
    return spend_all(of, NOW)


def takes(most: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, most - 1), st.integers(1, 30)), max_size=20)


@given(case=st.integers(2, 5).flatmap(lambda count: st.tuples(st.just(count), takes(count))))
@example(case=(2, [(0, 30), (0, 20), (1, 30), (1, 20)]))
def test_shares_of_a_window_exceed_the_limit_only_by_what_a_worker_used_beyond_its_share(
    case: tuple[int, list[tuple[int, int]]],
) -> None:
    # Each worker knows the use at its own last answer; others may have used the rest since.
    count, leases = case
    known = [Workers(count, 0.0) for _ in range(count)]
    each = [allowance("100 in 1h", workers) for workers in known]
    used, spent = 0, [0] * count
    for number, wanted in leases:
        amount = min(wanted, 100 - used)
        used += amount
        spent[number] += amount
        each[number].granted(Grant(amount, NOW, 0.0, used, 5))
        assert spend_all(each[number], NOW) == amount
    more = [spend_without_the_store(*pair) for pair in zip(each, known, strict=True)]
    assert used + sum(more) <= sum(max(one, 100 / count) for one in spent)


def test_a_second_outage_gives_no_second_share_of_a_window() -> None:
    workers = Workers(2, 0.0)
    of = allowance("100 in 1h", workers)
    of.granted(Grant(0.0, NOW, 0.0, 0.0, 5))
    assert spend_without_the_store(of, workers) == 50
    workers.local_until = 0.0
    assert of.ready_at(NOW, 1) == NEVER, "the store is to be asked"
    assert spend_without_the_store(of, workers) == 0


def test_the_share_of_a_window_is_not_that_of_a_new_one_after_the_store_was_emptied() -> None:
    workers = Workers(3, 0.0)
    of = allowance("300 in 1h", workers)
    of.granted(Grant(0.0, NOW, 0.0, 300.0))
    workers.local_until = NOW + 3
    of.granted(Grant(0.0, NOW, 0.0, 0.0))
    assert of.ready_at(NOW, 1) > NOW
    workers.local_until = 0.0
    of.granted(Grant(0.0, NOW + 4, 0.0, 240.0))
    assert of.ready_at(NOW + 4, 1) == NEVER, "the store is to be asked"
    workers.local_until = NEVER
    assert of.ready_at(NOW + 5, 20) == 0.0
    assert of.ready_at(NOW + 5, 21) > 0.0


def test_nothing_is_spent_of_a_window_while_an_emptied_store_is_told_what_was_used() -> None:
    # A worker may have asked last when little was used, and others have used the rest since.
    workers = Workers(3, 0.0)
    of = allowance("300 in 1h", workers)
    of.granted(Grant(0.0, NOW, 0.0, 0.0))
    workers.local_until = NOW + 3
    assert of.ready_at(NOW + 1, 1) == NOW + 3
    assert of.ready_at(NOW + 3, 1) == NEVER, "the store is to be asked"


def test_what_was_spent_of_a_window_is_reported_until_the_store_has_it() -> None:
    record = WindowRecord()
    record.spend(100, 3)
    record.spend_locally(2)
    assert record.unreported(101) == {101: 2}
    record.spend_locally(1)
    assert record.unreported(101) == {101: 3}
    record.reported()
    assert not record.has_unreported
    record.report_all()
    assert record.unreported(102) == {100: 3, 101: 3}
    record.reported()
    record.forget_before(101 + SLOTS)
    assert not record.is_empty
    record.forget_before(102 + SLOTS)
    assert record.is_empty


def test_each_message_that_cannot_wait_gets_a_turn_of_its_own() -> None:
    of = allowance("20/s", Workers(1, 0.0))
    of.waiting = 200
    turns = [of.turn_s(NOW) for _ in range(3)]
    each_s = 1 / (20 * FIRST_YIELD * MARGIN)
    assert turns == pytest.approx([10 + each_s, 10 + 2 * each_s, 10 + 3 * each_s])
    assert allowance("200/s").turn_s(NOW) == pytest.approx(SHORTEST_TURN_S, abs=0.03)
    assert allowance("1/d").turn_s(NOW) == LONGEST_TURN_S


@pytest.mark.parametrize(
    ("room", "waiting", "is_full"),
    [
        (2_000, LEAST_ROOM - 1, False),
        (2_000, LEAST_ROOM, True),
        (20, CROWDED_ROOM, True),
    ],
)
def test_little_mail_waits_in_memory_for_a_slow_limit(
    room: int, waiting: int, is_full: bool
) -> None:
    workers = Workers(1, 0.0, room)
    _, sending = group("messages = '1/s'", workers)
    sending.joined(waiting)
    assert (sending.full(NOW) is not None) is is_full


def test_new_mail_does_not_take_the_turn_of_mail_that_was_turned_away() -> None:
    of = allowance("20/s", Workers(1, 0.0))
    of.turn_s(NOW)
    of.waiting = 40
    assert not of.is_full(NOW, is_back=False), "it is sent before the first turn"
    assert of.is_full(NOW + 4, is_back=False)
    assert not of.is_full(NOW + 4, is_back=True)
    assert not of.is_full(NOW + 6, is_back=False), "all turns are over"
    of.waiting = 199
    assert not of.is_full(NOW + 4, is_back=True), "ten seconds of the limit"
    of.waiting = 200
    assert of.is_full(NOW + 4, is_back=True)


def test_mail_whose_turn_has_come_waits_while_a_quarter_of_the_room_is_left() -> None:
    workers = Workers(1, 0.0, room=400)
    _, sending = group("messages = '20/s'", workers)
    sending.joined(199)
    assert sending.full(NOW) is not None
    assert sending.full(NOW, is_back=True) is None
    workers.waiting = 300
    assert sending.full(NOW, is_back=True) is not None


@given(
    waiting=st.integers(0, 300),
    per_s=st.sampled_from((1, 20, 200)),
    turned_away=st.integers(0, 3),
    after_s=st.floats(0, 20),
    is_back=st.booleans(),
)
def test_the_quick_look_finds_no_room_that_the_full_one_does_not(
    waiting: int, per_s: int, turned_away: int, after_s: float, is_back: bool
) -> None:
    of = allowance(f"{per_s}/s", Workers(1, 0.0))
    for _ in range(turned_away):
        of.turn_s(NOW)
    of.waiting = waiting
    if of.free_room(NOW + after_s) > 0:
        assert not of.is_full(NOW + after_s, is_back=is_back)
        assert not of.has_turns(NOW + after_s), "it would be let in without a look"


def test_a_message_takes_its_size_of_a_limit_of_bytes() -> None:
    workers = Workers(1, 0.0)
    throttle, sending = group("messages = '1000/s'\nbytes = '1MB/s'", workers)
    by_message, by_byte = throttle.allowances
    assert sending.admit(OfSize(40_000), NOW, 1) == NEVER
    asks = [each.ask(NOW) for each in (by_message, by_byte)]
    assert [each.needed for each in asks] == [1, 40_000]
    by_message.granted(Grant(5, NOW, 0.0))
    by_byte.granted(Grant(60_000, NOW, 0.0))
    assert sending.admit(OfSize(40_000), NOW, 1) == 0.0
    assert sending.admit(OfSize(40_000), NOW, 1) == NEVER
    assert sending.admit(OfSize(20_000), NOW + 1, 1) == NEVER, "the lease has ended"
