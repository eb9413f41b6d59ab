"""Each topic is spread evenly, what can stay stays, and no partition has two owners."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from kafka.structs import TopicPartition

from shared.stream.kafka_python.spreading import Member, spread

ROUNDS = 4
TOPICS = {"mail.deferred.1m": 2, "mail.outbound.default": 4, "mail.outbound.gmail": 7}
PARTITIONS = {topic: range(count) for topic, count in TOPICS.items()}

Owned = dict[str, list[TopicPartition]]

names = st.sampled_from("abcdef")
members_after_members = st.lists(st.sets(names, min_size=1), min_size=1, max_size=5)


def joined(owned: Mapping[str, list[TopicPartition]]) -> list[Member]:
    return [Member(name, tuple(TOPICS), partitions) for name, partitions in owned.items()]


def settle(owned: Owned) -> Owned:
    """Rounds in which each member gives up at once what it is to give up."""
    for _ in range(ROUNDS):
        owned = spread(PARTITIONS, joined(owned))
    return owned


def counts_of(owned: Owned, topic: str) -> list[int]:
    return [sum(p.topic == topic for p in partitions) for partitions in owned.values()]


@given(members_after_members)
def test_whoever_joins_and_leaves_each_topic_is_spread_evenly_after_a_few_rounds(
    groups: list[set[str]],
) -> None:
    owned: Owned = {}
    for group in groups:
        owned = settle({name: owned.get(name, []) for name in sorted(group)})
        assert spread(PARTITIONS, joined(owned)) == owned, "another round moves something"
        for topic, count in TOPICS.items():
            counts = counts_of(owned, topic)
            assert (sum(counts), max(counts) - min(counts) <= 1) == (count, True)


@given(members_after_members)
def test_in_no_round_a_member_gets_what_another_owns(groups: list[set[str]]) -> None:
    owned: Owned = {}
    for group in groups:
        owned = {name: owned.get(name, []) for name in sorted(group)}
        for _ in range(ROUNDS):
            before, owned = owned, spread(PARTITIONS, joined(owned))
            for name, partitions in owned.items():
                others = {p for other in before if other != name for p in before[other]}
                assert not others & set(partitions)


def test_when_a_second_member_joins_the_first_goes_on_with_half_of_each_topic() -> None:
    first = settle({"a": []})["a"]
    after = spread(PARTITIONS, joined({"a": first, "b": []}))
    assert counts_of(after, "mail.outbound.default") == [2, 0]
    assert counts_of(after, "mail.outbound.gmail") == [4, 0]
    assert set(after["a"]) < set(first)


def test_a_remainder_goes_to_the_member_with_the_fewest_partitions() -> None:
    owned = settle({"a": [], "b": [], "c": []})
    totals = sorted(len(partitions) for partitions in owned.values())
    assert totals[-1] - totals[0] <= 1


def test_a_member_that_reads_no_topic_any_more_keeps_what_it_names_and_gets_nothing() -> None:
    kept = TopicPartition("mail.outbound.default", 1)
    given_ = spread(PARTITIONS, [Member("a", (), [kept]), Member("b", tuple(TOPICS), [])])
    assert given_["a"] == []
    assert kept not in given_["b"]
    assert len(given_["b"]) == sum(TOPICS.values()) - 1


def test_a_partition_that_two_members_name_is_taken_from_both() -> None:
    both = TopicPartition("mail.outbound.default", 1)
    given_ = spread(PARTITIONS, joined({"a": [both], "b": [both]}))
    assert both not in {*given_["a"], *given_["b"]}
    assert both in {p for partitions in settle(given_).values() for p in partitions}
