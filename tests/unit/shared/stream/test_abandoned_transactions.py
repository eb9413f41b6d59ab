"""Which open transactions of other processes are ended."""

from __future__ import annotations

from shared.stream.open_transactions import Abandoned, Transaction

ONE = Transaction("sluice.ingest.a", 1, 0, 1_000)
NEXT = Transaction("sluice.ingest.a", 1, 0, 2_000)
OTHER = Transaction("sluice.deliver.b", 2, 5, 1_500)


def test_a_transaction_is_abandoned_after_it_stayed_open_for_the_time() -> None:
    abandoned = Abandoned(20.0)
    assert abandoned.look([ONE], 100.0) == []
    assert abandoned.look([ONE, OTHER], 119.0) == []
    assert abandoned.look([ONE, OTHER], 120.0) == [ONE]
    assert abandoned.look([ONE, OTHER], 139.0) == [ONE, OTHER]


def test_the_next_transaction_of_the_same_producer_is_another_one() -> None:
    abandoned = Abandoned(20.0)
    abandoned.look([ONE], 100.0)
    assert abandoned.look([NEXT], 121.0) == []


def test_a_transaction_seen_again_after_it_had_ended_begins_anew() -> None:
    abandoned = Abandoned(20.0)
    abandoned.look([ONE], 100.0)
    abandoned.look([], 110.0)
    assert abandoned.look([ONE], 121.0) == []


def test_no_time_counts_from_before_the_brokers_could_not_be_asked() -> None:
    abandoned = Abandoned(20.0)
    abandoned.look([ONE], 100.0)
    abandoned.forget()
    assert abandoned.look([ONE], 121.0) == []
    assert abandoned.look([ONE], 141.0) == [ONE]
