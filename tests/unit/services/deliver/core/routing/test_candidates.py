"""The order in which the addresses of a site are tried."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.deliver.core.routing.candidates import (
    MAX_REMEMBERED,
    MAX_SITES,
    PROBE_GAP_S,
    PUSH_BACK_RETRY_S,
    RETRY_S,
    AddressHistory,
    Candidate,
    Failure,
    Histories,
    arrange,
)
from services.deliver.core.routing.sites import Host


def candidates(*ips: str) -> list[Candidate]:
    """One host per address, each of a lower preference than the one before."""
    return [Candidate(Host(f"mx{rank}", rank=rank), ip) for rank, ip in enumerate(ips)]


A, B, C = candidates("192.0.2.1", "192.0.2.2", "192.0.2.3")
SIX = Candidate(A.host, "2001:db8::1")


def order(history: AddressHistory, left: Sequence[Candidate], now: float) -> list[Candidate]:
    rest, found = list(left), []
    while rest:
        found += history.take_next(rest, now)
    return found


def keep(_items: list[Host] | list[str]) -> None:
    """Shuffle nothing."""


def test_hosts_of_equal_preference_are_shuffled_and_preferences_are_kept() -> None:
    hosts = [
        (Host("c", rank=1), ["192.0.2.3"]),
        (Host("a"), ["192.0.2.1"]),
        (Host("b"), ["192.0.2.2"]),
    ]
    for shuffle, names in (
        (keep, ["a", "b", "c"]),
        (lambda items: items.reverse(), ["b", "a", "c"]),
    ):
        assert [found.host.name for found in arrange(hosts, shuffle)] == names


def test_the_addresses_of_a_host_are_of_both_families_in_turn() -> None:
    ips = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]
    found = [candidate.ip for candidate in arrange([(Host("a"), ips)], keep)]
    assert found == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]


def test_an_address_that_two_hosts_share_is_tried_once_at_its_better_place() -> None:
    hosts = [(Host("a"), ["192.0.2.1"]), (Host("b", rank=1), ["192.0.2.2", "192.0.2.1"])]
    assert [str(found) for found in arrange(hosts, keep)] == ["a[192.0.2.1]:25", "b[192.0.2.2]:25"]


@pytest.mark.parametrize("failure", list(Failure))
def test_an_address_that_has_failed_goes_behind_all_others_for_a_time(failure: Failure) -> None:
    history = AddressHistory()
    history.failed(A, failure, 0.0)
    wait_s = PUSH_BACK_RETRY_S if failure is Failure.PUSHED_BACK else RETRY_S
    assert order(history, [A, B, C], wait_s - 1) == [B, C, A]
    assert order(history, [A, B, C], wait_s) == [A, B, C]


def test_one_opening_tries_a_failed_address_again_and_the_others_do_not_wait_for_it() -> None:
    history = AddressHistory()
    history.failed(A, Failure.UNREACHABLE, 0.0)
    assert history.take_next([A, B], RETRY_S) == [A]
    assert history.take_next([A, B], RETRY_S) == [B]
    history.worked(A, RETRY_S + 1)
    assert history.take_next([A, B], RETRY_S + 1) == [A]


def test_a_site_with_many_dead_hosts_tries_one_of_them_at_a_time() -> None:
    history = AddressHistory()
    dead = candidates(*(f"192.0.2.{number}" for number in range(5)))
    alive = Candidate(Host("alive", rank=9), "192.0.2.9")
    for candidate in dead:
        history.failed(candidate, Failure.UNREACHABLE, 0.0)
    now = 10 * RETRY_S
    left = [*dead, alive]
    assert history.take_next(left, now) + history.take_next(left, now) == [dead[0], alive]
    history.failed(dead[0], Failure.UNREACHABLE, now)
    for later_s, first in ((1, alive), (PROBE_GAP_S, dead[1]), (PROBE_GAP_S + 1, alive)):
        assert history.take_next([*dead, alive], now + later_s) == [first]


def test_no_address_is_ever_left_out() -> None:
    history = AddressHistory()
    for now, candidate in enumerate((B, A, C)):
        history.failed(candidate, Failure.REFUSED, float(now))
    assert order(history, [A, B, C], 3.0) == [B, A, C]


def test_if_all_have_failed_one_that_has_ever_worked_goes_first() -> None:
    history = AddressHistory()
    history.worked(C, 0.0)
    for now, candidate in enumerate((A, B, C), 1):
        history.failed(candidate, Failure.UNREACHABLE, float(now))
    assert order(history, [A, B, C], 5.0) == [C, A, B]


def test_a_connection_that_opens_clears_a_failure_but_no_push_back() -> None:
    history = AddressHistory()
    for failure, first in ((Failure.REFUSED, A), (Failure.PUSHED_BACK, B)):
        history.failed(A, failure, 0.0)
        history.worked(A, 1.0)
        assert history.take_next([A, B], 2.0) == [first]
    # It is cleared by a connection that was opened after its time.
    now = PUSH_BACK_RETRY_S
    assert history.take_next([A, B], now) == [A]
    history.worked(A, now)
    assert not history.has_failed(A)


def test_both_families_of_one_host_are_tried_as_a_pair() -> None:
    history = AddressHistory()
    left = [SIX, A, B]
    assert history.take_next(left, 0.0) == [SIX, A]
    assert left == [B]
    history.failed(SIX, Failure.SLOW, 0.0)
    assert order(history, [SIX, A, B], 1.0) == [A, B, SIX]


def test_the_memory_is_bounded() -> None:
    history, histories = AddressHistory(), Histories()
    for number in range(MAX_REMEMBERED + 1):
        history.failed(Candidate(Host("a"), str(number)), Failure.SLOW, 0.0)
    assert not history.has_failed(Candidate(Host("a"), "0"))
    assert history.has_failed(Candidate(Host("a"), "1"))
    first = histories.of("first")
    assert histories.of("first") is first
    for number in range(MAX_SITES):
        histories.of(str(number))
    assert histories.of("first") is not first
