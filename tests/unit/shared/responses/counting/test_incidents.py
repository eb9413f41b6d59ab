"""When an incident at a provider opens, what it holds, and when it is over."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.counting.incidents import (
    BUCKETS,
    MAX_PAST,
    MAX_PROVIDERS,
    MAX_STATUSES,
    IncidentPolicy,
    Incidents,
    decode_incidents,
    encode_incidents,
)

SECOND = 1_000
POLICY = IncidentPolicy(least=4, percent=50, window_ms=100 * SECOND)
Outcome = tuple[str, str, int]  # provider, status of a hard bounce or "", time in seconds


def noted(outcomes: list[Outcome], policy: IncidentPolicy = POLICY) -> tuple[str, Incidents]:
    """Note them; return `x` for each that is held and `.` for each other one."""
    found = decode_incidents(b"")
    shown = ""
    for provider, status, at_s in outcomes:
        shown += "x" if found.note(provider, status, at_s * SECOND, policy) else "."
    return shown, found


def hard(number: int, at_s: int, provider: str = "big", status: str = "5.1.1") -> list[Outcome]:
    return [(provider, status, at_s)] * number


def good(number: int, at_s: int, provider: str = "big") -> list[Outcome]:
    return [(provider, "", at_s)] * number


@pytest.mark.parametrize(
    ("outcomes", "held"),
    [
        (hard(3, 0), "..."),
        (hard(6, 0), "...xxx"),
        # Half of all outcomes is not more than half.
        (good(4, 0) + hard(5, 1), "........x"),
        (good(20, 0) + hard(9, 1), "." * 29),
        # Other statuses and providers are not concerned.
        (hard(5, 0) + hard(1, 1, status="5.2.1") + hard(1, 1, "small"), "...xx.."),
        (hard(3, 0) + hard(3, 0, "small"), "......"),
        # It stays open for a window after the last spike, and is over then.
        (hard(4, 0) + good(20, 1) + hard(1, 2), "...x" + "." * 20 + "x"),
        (hard(4, 0) + good(20, 90) + hard(1, 99), "...x" + "." * 20 + "x"),
        (hard(4, 0) + good(20, 90) + hard(1, 101), "...x" + "." * 20 + "."),
        (hard(4, 0) + hard(1, 500), "...x."),
        # A window forgets what is older.
        (hard(3, 0) + hard(3, 150), "......"),
        # A clock that was set back does not reopen the past.
        (hard(4, 500) + hard(1, 0), "...xx"),
    ],
)
def test_a_spike_is_held_and_nothing_else(outcomes: list[Outcome], held: str) -> None:
    assert noted(outcomes)[0] == held


def test_an_incident_knows_its_times_and_what_it_holds() -> None:
    _, found = noted(hard(5, 10) + hard(2, 30) + good(1, 60))
    (incident,) = found.open_ones()
    assert (incident.provider, incident.status, incident.held) == ("big", "5.1.1", 4)
    assert (incident.opened_ms, incident.last_ms) == (10 * SECOND, 30 * SECOND)
    found.note("other", "", 200 * SECOND, POLICY)
    assert found.open_ones() == []
    assert found.all_ones() == [incident]


def test_without_a_threshold_nothing_is_held_or_remembered() -> None:
    held, found = noted(hard(100, 0), IncidentPolicy())
    assert held == "." * 100
    assert encode_incidents(found) == b""


def test_what_is_remembered_is_bounded_whoever_answers_with_what() -> None:
    random = Random(3)
    outcomes = [
        (f"p{random.randrange(2_000)}", f"5.{random.randrange(999)}.1", at_s // 50)
        for at_s in range(20_000)
    ]
    _, found = noted(outcomes, IncidentPolicy(1, 1, 100 * SECOND))
    assert len(found.providers) <= MAX_PROVIDERS
    assert len(found.past) <= MAX_PAST
    for each in found.providers.values():
        assert len(each.buckets) <= BUCKETS
        assert len(each.hard) <= MAX_STATUSES + 1


def test_a_busy_provider_is_not_forgotten_for_many_small_ones() -> None:
    small = [(f"p{number}", "", number) for number in range(3 * MAX_PROVIDERS)]
    outcomes = [each for one in small for each in (one, ("big", "5.1.1", one[2]))]
    held, _ = noted(outcomes)
    assert held[1::2] == "..." + "x" * (3 * MAX_PROVIDERS - 3)


OUTCOMES = st.lists(
    st.tuples(
        st.sampled_from(["big", "small"]),
        st.sampled_from(["", "", "5.1.1", "5.7.1"]),
        st.integers(0, 400),
    ),
    max_size=120,
)


@given(outcomes=OUTCOMES, cut=st.integers(0, 120))
def test_it_does_not_matter_where_a_process_stopped_and_the_next_one_went_on(
    outcomes: list[Outcome], cut: int
) -> None:
    held, whole = noted(outcomes)
    first, before = noted(outcomes[:cut])
    after = decode_incidents(encode_incidents(before))
    for provider, status, at_s in outcomes[cut:]:
        first += "x" if after.note(provider, status, at_s * SECOND, POLICY) else "."
    assert first == held
    assert encode_incidents(after) == encode_incidents(whole)


@given(outcomes=OUTCOMES)
def test_the_sums_are_those_of_the_buckets(outcomes: list[Outcome]) -> None:
    _, found = noted(outcomes)
    for each in found.providers.values():
        assert each.outcomes == sum(bucket.outcomes for bucket in each.buckets)
        for status in {name for bucket in each.buckets for name in bucket.hard}:
            total = sum(bucket.hard.get(status, 0) for bucket in each.buckets)
            assert each.hard[status] == total
