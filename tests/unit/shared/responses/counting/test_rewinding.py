"""Reviews of a provider's window: what counts, who is freed, and that counting again agrees."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.responses.counting.batch import CountingRules, Judging, Step, count_batch, rules_of
from shared.responses.counting.counting import BounceCounter, Limits, encode_counter
from shared.responses.counting.facts import Fact, FactKind
from shared.responses.counting.incidents import IncidentPolicy, decode_incidents, encode_incidents
from shared.responses.counting.merging import Source
from shared.responses.counting.rewinding import Change, Recount, change_between, concerned
from shared.topics.control import Review, ReviewVerdict
from shared.topics.suppressions import CounterReset, Suppression, SuppressionReason

SOURCE = Source("mail.events", 0)
LIMITS = Limits(3, 2)
POLICY = IncidentPolicy(least=3, percent=50, window_ms=50)
NOBODY: dict[Source, int] = {}


def step(kind: FactKind, who: str, at_ms: int, provider: str = "big") -> Step:
    recipient = f"{who}@{provider}.example"
    status = "5.1.1" if kind is FactKind.HARD else ""
    fact = Fact(kind, "shop", recipient, f"m{at_ms}", provider, status)
    return Step(fact, fact.field, at_ms, SOURCE, at_ms)


def reset(who: str, at_ms: int, provider: str = "big") -> Step:
    what = CounterReset("shop", f"{who}@{provider}.example")
    field = step(FactKind.HARD, who, at_ms, provider).field
    return Step(what, field, at_ms, SOURCE, at_ms)


def counted(steps: Sequence[Step], rules: CountingRules, part: int = 1_000) -> tuple[
    dict[bytes, bytes], bytes, list[Suppression]
]:  # fmt: skip
    """Count in parts, as a worker does: the counters, the incidents, and the entries."""
    counters: dict[bytes, BounceCounter] = {}
    known, entries = b"", []
    for start in range(0, len(steps), part):
        judging = Judging(rules, decode_incidents(known))
        found = count_batch(
            steps[start : start + part], counters, NOBODY, lambda _: LIMITS, judging
        )
        counters.update(found.counters)
        known = encode_incidents(found.incidents)
        entries += found.entries
    stored = {field: encode_counter(each) for field, each in counters.items()}
    return {field: value for field, value in stored.items() if value}, known, entries


def change(
    steps: Sequence[Step],
    review: Review,
    rules: CountingRules = CountingRules(),  # noqa: B008
) -> Change:
    about = concerned(steps, review)
    fields = frozenset(each.field for each in about)
    after = rules_of(rules.policy, [*rules.reviews, review])
    recounts = [Recount(each, fields, lambda _: LIMITS) for each in (rules, after)]
    for each in recounts:
        each.count(steps)
    return change_between(recounts[0], recounts[1], counted(steps, rules)[2], len(about))


def named(entries: Sequence[Suppression]) -> list[tuple[str, str]]:
    return [(each.recipient.partition("@")[0], each.reason.value) for each in entries]


HARD, SOFT, DELIVERED = FactKind.HARD, FactKind.SOFT, FactKind.DELIVERED
POISONED = Review("big", 10, 20)
HISTORY = [
    step(HARD, "a", 1),
    step(HARD, "a", 2),
    step(HARD, "b", 3),
    step(HARD, "c", 11),  # the window begins
    step(HARD, "a", 12),
    step(HARD, "b", 13),
    step(HARD, "b", 14),
    step(HARD, "x", 15, "small"),
    step(HARD, "x", 16, "small"),
    step(HARD, "x", 17, "small"),
    step(SOFT, "s", 18),
    step(SOFT, "s", 19),
    step(HARD, "b", 20),  # it has ended
    step(HARD, "b", 21),
]


def test_a_rewind_frees_those_who_are_over_their_limit_only_with_the_window() -> None:
    found = change(HISTORY, POISONED)
    assert named(found.freed) == [("a", "hard_bounces"), ("s", "soft_bounces")]
    assert (list(found.added), found.bounces) == ([], 6)


@pytest.mark.parametrize(
    ("review", "freed"),
    [
        (replace(POISONED, status="5.1.1"), ["a"]),
        (replace(POISONED, status="5.7.1"), []),
        (replace(POISONED, provider="small"), ["x"]),
        (replace(POISONED, provider="big.example"), ["a", "s"]),
        (replace(POISONED, provider="other"), []),
        (replace(POISONED, from_ms=13), ["s"]),
        (replace(POISONED, until_ms=12), []),
        (replace(POISONED, active=False), []),
    ],
)
def test_a_review_is_about_its_provider_status_and_window(review: Review, freed: list[str]) -> None:
    assert [who for who, _ in named(change(HISTORY, review).freed)] == freed


def test_who_was_reset_meanwhile_is_not_freed_again() -> None:
    steps = [*HISTORY, reset("a", 30)]
    assert [who for who, _ in named(change(steps, POISONED).freed)] == ["s"]


def test_an_incident_holds_bounces_until_they_are_accepted_or_excluded() -> None:
    spike = [step(HARD, who, 10 * turn + number) for turn in range(4) for number, who in
             enumerate("abcde")]  # fmt: skip
    rules = CountingRules(POLICY)
    assert named(counted(spike, rules)[2]) == []
    accepted = change(spike, Review("big", 0, 100, ReviewVerdict.COUNTED), rules)
    assert named(accepted.added) == [(who, "hard_bounces") for who in "abcde"]
    assert change(spike, Review("big", 0, 100), rules).added == []


def test_an_exclusion_is_stronger_than_an_acceptance() -> None:
    both = [Review("big", 0, 99), Review("big", 0, 100, ReviewVerdict.COUNTED)]
    rules = rules_of(IncidentPolicy(), both)
    assert named(counted(HISTORY, rules)[2]) == [("x", "hard_bounces")]


def test_rules_have_a_digest_that_tells_them_apart_whatever_their_order() -> None:
    other = replace(POISONED, provider="small")
    digests = {
        CountingRules().digest(),
        CountingRules(POLICY).digest(),
        rules_of(POLICY, [POISONED]).digest(),
        rules_of(POLICY, [POISONED, other]).digest(),
        rules_of(POLICY, [replace(POISONED, verdict=ReviewVerdict.COUNTED)]).digest(),
        rules_of(POLICY, [replace(POISONED, until_ms=21)]).digest(),
    }
    assert len(digests) == 6
    assert (
        rules_of(POLICY, [other, POISONED]).digest() == rules_of(POLICY, [POISONED, other]).digest()
    )
    assert rules_of(POLICY, [replace(POISONED, active=False)]) == CountingRules(POLICY)
    assert rules_of(POLICY, [replace(POISONED, note="x")]).digest() == (
        rules_of(POLICY, [POISONED]).digest()
    )


FACTS = st.lists(
    st.tuples(
        st.sampled_from([HARD, HARD, SOFT, DELIVERED, FactKind.OTHER, None]),
        st.sampled_from("abc"),
        st.sampled_from(["big", "small"]),
    ),
    max_size=150,
)
REVIEWS = st.lists(
    st.builds(
        Review,
        st.sampled_from(["big", "small"]),
        st.integers(0, 70),
        st.integers(71, 160),
        st.sampled_from(ReviewVerdict),
    ),
    max_size=3,
)


@given(facts=FACTS, reviews=REVIEWS, part=st.integers(1, 60))
def test_counted_live_in_any_parts_and_counted_again_is_the_same_byte_for_byte(
    facts: list[tuple[FactKind | None, str, str]], reviews: list[Review], part: int
) -> None:
    steps = [
        reset(who, at_ms, provider) if kind is None else step(kind, who, at_ms, provider)
        for at_ms, (kind, who, provider) in enumerate(facts)
    ]
    rules = rules_of(POLICY, reviews)
    assert counted(steps, rules, part) == counted(steps, rules)


@given(facts=FACTS, reviews=REVIEWS)
def test_a_recount_makes_the_entries_that_counting_makes(
    facts: list[tuple[FactKind | None, str, str]], reviews: list[Review]
) -> None:
    steps = [
        step(kind, who, at_ms, provider)
        for at_ms, (kind, who, provider) in enumerate(facts)
        if kind is not None
    ]
    rules = rules_of(POLICY, reviews)
    recount = Recount(rules, frozenset(each.field for each in steps), lambda _: LIMITS)
    recount.count(steps)
    live = {(each.recipient, each.reason) for each in counted(steps, rules)[2]}
    assert {(recipient, reason) for _, recipient, reason in recount.made} == live
    assert all(isinstance(reason, SuppressionReason) for _, _, reason in recount.made)
