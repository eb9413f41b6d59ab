"""Plans more replicas for partitions, so that each has as many as the settings say. Pure.

Present replicas stay, the leader first; new ones go to the brokers with the fewest, in other racks
first. Nothing is planned that removes a replica. Does not own: the request to the brokers
(shared/stream/replicas.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

Assignments = dict[tuple[str, int], list[int]]


def more_replicas(
    found: Mapping[tuple[str, int], Sequence[int]], brokers: Mapping[int, str], wanted: int
) -> Assignments:
    """Return new replicas by (topic, partition) for those that have fewer than wanted.

    `brokers` maps each broker that is there to its rack ("" for none). With fewer brokers than
    wanted nothing is planned: `lacking_brokers` says so.
    """
    if lacking_brokers(brokers, wanted):
        return {}
    load = Counter(node for replicas in found.values() for node in replicas)
    planned: Assignments = {}
    for place, replicas in sorted(found.items()):
        chosen = list(replicas)
        while len(chosen) < wanted:
            racks = {brokers.get(node, "") for node in chosen} - {""}
            free = [node for node in brokers if node not in chosen]
            node = min(free, key=lambda one: (brokers[one] in racks, load[one], one))
            chosen.append(node)
            load[node] += 1
        if len(chosen) > len(replicas):
            planned[place] = chosen
    return planned


def lacking_brokers(brokers: Mapping[int, str], wanted: int) -> int:
    """Return how many more brokers that many replicas need; 0 if there are enough."""
    return max(wanted - len(brokers), 0)
