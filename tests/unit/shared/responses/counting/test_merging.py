"""The one order in which the records of several partitions are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from shared.responses.counting.merging import MergedLog, Source

A, B = Source("events", 0), Source("events", 1)


class Stamped(Struct, frozen=True):
    offset: int
    timestamp: int


def stamped(*times: int) -> list[Stamped]:
    return [Stamped(offset, time) for offset, time in enumerate(times)]


def times(log: MergedLog, most: int = 100) -> list[int]:
    return [each.at_ms for each in log.take(most)]


def test_a_record_waits_until_no_partition_can_have_an_earlier_one() -> None:
    log = MergedLog([A, B])
    log.add(A, stamped(10, 20, 30))
    assert times(log) == []
    log.note_read(B, 20)
    assert times(log) == [10]
    log.add(B, stamped(25))
    assert times(log) == [20, 25]
    log.note_read(B, 99)
    assert times(log) == [30]


def test_a_partition_that_was_read_to_its_end_holds_up_no_other_for_long() -> None:
    log = MergedLog([A, B])
    log.add(A, stamped(10))
    log.note_read(A, 50)
    log.note_read(B, 50)
    assert times(log) == [10]


def test_a_clock_that_was_set_back_does_not_change_the_order_within_a_partition() -> None:
    log = MergedLog([A])
    log.add(A, stamped(10, 5, 20))
    log.note_read(A, 99)
    assert [(each.at_ms, each.record.offset) for each in log.take(9)] == [(10, 0), (10, 1), (20, 2)]


LISTS = st.lists(st.integers(0, 9), max_size=8).map(sorted)


@given(LISTS, LISTS, st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=9))
def test_the_order_does_not_depend_on_how_the_partitions_are_read(
    first: list[int], second: list[int], most: int, steps: list[int]
) -> None:
    whole, bit_by_bit = MergedLog([A, B]), MergedLog([B, A])
    a, b = stamped(*first), stamped(*second)
    whole.add(A, a)
    whole.add(B, b)
    for each in (A, B):
        whole.note_read(each, 100)
    wanted = whole.take(100)
    found = []
    for step in steps:
        bit_by_bit.add(A, a[:step])
        bit_by_bit.add(B, b[: step // 2])
        a, b = a[step:], b[step // 2 :]
        found += bit_by_bit.take(most)
    bit_by_bit.add(A, a)
    bit_by_bit.add(B, b)
    for each in (A, B):
        bit_by_bit.note_read(each, 100)
    found += bit_by_bit.take(100)
    assert found == wanted
    assert len(wanted) == len(first) + len(second)
