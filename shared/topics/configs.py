"""Plans the Kafka configuration and the replicas of each topic, and finds differences from the
plan.

This module has every topic config that the pipeline depends on, with its reason. It does not own
the access to the configs on a broker (shared/stream/topic_configs.py) and the names of topics
(names.py).

The reasons in short (docs/decisions/0046-topic-configs.md):
  message.timestamp.type  LogAppendTime: retention deletes by this time, and a producer's clock
                          must not cause the deletion of an acknowledged record.
  compression.type        producer: the broker stores batches as received. To recompress a batch,
                          the broker would have to hold the decompressed batch in memory.
  retention.bytes         -1: Kafka deletes records by time only. If the disk is full, the broker
                          refuses new records, but loses no record.
  segment.ms, .bytes      Kafka deletes a whole segment at once, so a record may stay longer by the
                          time that a segment covers.

Each partition gets the number of replicas in the settings. Existing replicas are kept, and the
leader is the first in the list. New replicas are planned on brokers in other racks if possible.
Among these brokers, those with the fewest replicas are chosen. No plan removes a replica.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

Configs = dict[str, str]
Overrides = Mapping[str, Mapping[str, str]]

MIN_IN_SYNC: Final = "min.insync.replicas"
# With these values one broker may fail. Writing then continues, and no acknowledged record is lost.
SAFE_REPLICATION: Final = 3
SAFE_IN_SYNC: Final = 2
DAY_MS: Final = 86_400_000
# A lower value of one of these configs deletes records, so only a command of an operator may lower
# it.
_KEEPING: Final = ("retention.ms", "retention.bytes", "delete.retention.ms")
_UNLIMITED: Final = -1

# If the retention is at most this long, a segment has the records of one day. If records are kept
# for a year, such segments would be thousands of files.
_SHORT_MS: Final = 14 * DAY_MS

_MIB: Final = 1024 * 1024
_COMMON: Final = {"message.timestamp.type": "LogAppendTime", "compression.type": "producer"}
_QUEUE_SEGMENT_BYTES: Final = 256 * _MIB
_STATE_SEGMENT_BYTES: Final = 64 * _MIB
Assignments = dict[tuple[str, int], list[int]]


class Difference(Struct, frozen=True):
    """One topic config that differs from the plan. `found` is "" if the config is not set on the
    broker."""

    topic: str
    config: str
    found: str
    wanted: str

    @property
    def deletes(self) -> bool:
        """Return True if Kafka may delete records earlier when this config is altered."""
        if self.config not in _KEEPING or not _is_number(self.found):
            return False
        found, wanted = int(self.found), int(self.wanted)
        return wanted != _UNLIMITED and (found == _UNLIMITED or wanted < found)


def queue(retention_ms: int, max_record_bytes: int) -> Configs:
    """Return the configs of a topic with a retention time. Kafka deletes whole segments."""
    return {
        **_COMMON,
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": str(_UNLIMITED),
        "max.message.bytes": str(max_record_bytes),
        "segment.bytes": str(_QUEUE_SEGMENT_BYTES),
        "segment.ms": str(DAY_MS if retention_ms <= _SHORT_MS else 7 * DAY_MS),
    }


def state(max_record_bytes: int) -> Configs:
    """Return the configs of a compacted topic. Kafka keeps the last record of each key forever."""
    return {
        **_COMMON,
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "max.message.bytes": str(max_record_bytes),
        "segment.bytes": str(_STATE_SEGMENT_BYTES),
        "segment.ms": str(DAY_MS),
    }


def min_in_sync(replication: int, wanted: int = 0) -> int:
    """Return the number of replicas that must have a record before it is acknowledged.

    `wanted` is the setting. If `wanted` is 0, the number is chosen so that one broker may be down.
    If a topic has fewer replicas than `wanted`, all its replicas must have the record.
    """
    chosen = SAFE_IN_SYNC if replication >= SAFE_REPLICATION else 1
    return min(wanted or chosen, max(replication, 1))


def wanted_configs(
    topic: str,
    planned: Mapping[str, str],
    replication: int,
    overrides: Overrides,
    in_sync: int = 0,
) -> Configs:
    """Return the configs of a topic with this number of replicas, including the overrides in the
    settings.

    The keys of `overrides` are names of topics, in which * matches any text. Later entries take
    precedence. `in_sync` is the setting `kafka.min_insync_replicas`.
    """
    wanted = dict(planned)
    if planned:
        wanted[MIN_IN_SYNC] = str(min_in_sync(replication, in_sync))
    for pattern, configs in overrides.items():
        if fnmatchcase(topic, pattern):
            wanted.update(configs)
    return wanted


def differences(
    topic: str, wanted: Mapping[str, str], found: Mapping[str, str]
) -> list[Difference]:
    """Return the configs of a topic that differ from the wanted configs."""
    return [
        Difference(topic, name, found.get(name, ""), value)
        for name, value in wanted.items()
        if found.get(name, "") != value
    ]


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def more_replicas(
    found: Mapping[tuple[str, int], Sequence[int]], brokers: Mapping[int, str], wanted: int
) -> Assignments:
    """Return the planned replicas of each partition that has too few replicas, by (topic,
    partition).

    `brokers` maps each live broker to its rack ("" for none). If there are fewer brokers than
    wanted replicas, the result is empty (see lacking_brokers()).
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
    """Return the number of further brokers that are needed for these replicas. Return 0 if there
    are enough brokers."""
    return max(wanted - len(brokers), 0)
