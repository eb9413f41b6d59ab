"""Which open transactions of other processes are ended."""

from __future__ import annotations

from collections.abc import Iterable

from shared.stream.open_transactions import LOOK_S, Abandoned, Transaction

ONE = Transaction("sluice.ingest.a", 1, 0, 1_000)
NEXT = Transaction("sluice.ingest.a", 1, 0, 2_000)
OTHER = Transaction("sluice.deliver.b", 2, 5, 1_500)


def looks(
    abandoned: Abandoned, open_now: Iterable[Transaction], begin: float, end: float
) -> list[Transaction]:
    """Look every LOOK_S from `begin` to `end`, and return what the last look finds."""
    found: list[Transaction] = []
    while begin <= end:
        found = abandoned.look(open_now, begin)
        begin += LOOK_S
    return found


def test_a_transaction_is_abandoned_after_it_stayed_open_for_the_time() -> None:
    abandoned = Abandoned(20.0)
    assert looks(abandoned, [ONE], 100.0, 112.0) == []
    assert looks(abandoned, [ONE, OTHER], 116.0, 119.0) == []
    assert looks(abandoned, [ONE, OTHER], 120.0, 132.0) == [ONE]
    assert looks(abandoned, [ONE, OTHER], 136.0, 136.0) == [ONE, OTHER]


def test_the_next_transaction_of_the_same_producer_is_another_one() -> None:
    abandoned = Abandoned(20.0)
    looks(abandoned, [ONE], 100.0, 116.0)
    assert abandoned.look([NEXT], 120.0) == []


def test_a_transaction_seen_again_after_it_had_ended_starts_again() -> None:
    abandoned = Abandoned(20.0)
    looks(abandoned, [ONE], 100.0, 108.0)
    abandoned.look([], 112.0)
    assert looks(abandoned, [ONE], 116.0, 132.0) == []


def test_no_time_counts_from_before_the_brokers_could_not_be_asked() -> None:
    abandoned = Abandoned(20.0)
    looks(abandoned, [ONE], 100.0, 116.0)
    abandoned.forget()
    assert looks(abandoned, [ONE], 120.0, 136.0) == []
    assert abandoned.look([ONE], 140.0) == [ONE]


def test_a_pause_of_this_process_does_not_count_as_time_that_a_transaction_was_open() -> None:
    abandoned = Abandoned(20.0)
    looks(abandoned, [ONE], 100.0, 104.0)
    assert abandoned.look([ONE], 164.0) == []
    assert abandoned.look([], 168.0) == []


def test_slow_looks_still_find_an_abandoned_transaction() -> None:
    abandoned = Abandoned(20.0)
    found = [abandoned.look([ONE], at) for at in (100.0, 125.0, 150.0)]
    assert found == [[], [], [ONE]]
