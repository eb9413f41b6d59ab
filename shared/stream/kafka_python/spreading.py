"""Spreads the partitions of each topic over the members of a group.

The cooperative-sticky assignor of kafka-python 3.0.12 balances only the total number of partitions.
It moves the first partitions in alphabetical order, and these may be all partitions of the topic
that contains the mail. Here each member keeps its share of every topic. So a part of each topic is
still read while other partitions change their owner. This module does no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from kafka.structs import TopicPartition
from msgspec import Struct


class Member(Struct, frozen=True):
    """A member of the group: its topics, and the partitions that it lists as owned."""

    name: str
    topics: Collection[str]
    owned: Collection[TopicPartition]


def spread(
    partitions: Mapping[str, Collection[int]], members: Sequence[Member]
) -> dict[str, list[TopicPartition]]:
    """Return the partitions of each member after this round of a cooperative rebalance.

    `partitions` has the partitions of each topic. Only partitions without an owner are newly
    assigned to a member. If a member owns more than its share, the result omits the surplus
    partitions. The member then gives them up, and the next round assigns them. If a member lists a
    partition of a topic that it does not read, the partition stays unassigned until the member no
    longer lists it. A partition that several members list is taken from all of them.
    """
    owned = {member.name: set(member.owned) for member in members}
    owners = Counter(partition for own in owned.values() for partition in own)
    given: dict[str, list[TopicPartition]] = {member.name: [] for member in members}
    shares: Counter[str] = Counter()
    for topic in sorted(partitions):
        there = [TopicPartition(topic, number) for number in sorted(partitions[topic])]
        readers = [member.name for member in members if topic in member.topics]
        own = {name: [p for p in there if p in owned[name] and owners[p] == 1] for name in readers}
        share = _shares(own, len(there), shares)
        shares.update(share)
        kept = {name: mine[: share[name]] for name, mine in own.items()}
        for partition in there:
            if readers and partition not in owners:
                emptiest = max(own, key=lambda name: (share[name] - len(kept[name]), name))
                kept[emptiest].append(partition)
        for name, mine in kept.items():
            given[name] += mine
    return given


def _shares(
    own: Mapping[str, Sequence[TopicPartition]], count: int, others: Mapping[str, int]
) -> dict[str, int]:
    """Return the number of partitions that each reader gets from a topic with `count` partitions.

    `others` contains the number of each reader's partitions of the earlier topics. The remainder
    goes to the readers with the lowest number. Among readers with equal numbers, the remainder goes
    to those that already own the most partitions of this topic.
    """
    if not own:
        return {}
    base, remainder = divmod(count, len(own))
    ranked = sorted(
        own, key=lambda name: (others.get(name, 0), -min(len(own[name]), base + 1), name)
    )
    return {name: base + (place < remainder) for place, name in enumerate(ranked)}
