"""Compares the topics on the brokers with the plan, alters their configs and adds replicas.

This module owns the requests to the brokers. It does not own the plan (shared/topics/configs.py)
and the creation of topics (admin.py).

When a service starts, it corrects only differences whose correction deletes no records. If a topic
keeps records longer than planned, the service does not change the topic's config. The log and
`./sluice topics plan` show the difference. If an ACL forbids altering or reading configs, one line
is logged and the service continues.

Partitions with fewer replicas than in the settings get more replicas (KIP-455). To add replicas,
the client needs the permission Alter on the cluster. The brokers copy the data in the background.
Until the copy is complete, a partition keeps its old replicas.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from kafka.structs import TopicPartition
from msgspec import Struct

from shared.settings.sections import KafkaSettings
from shared.topics.configs import (
    Assignments,
    Configs,
    Difference,
    Overrides,
    differences,
    lacking_brokers,
    more_replicas,
    wanted_configs,
)

log = logging.getLogger(__name__)

Status = Literal["ok", "differs", "missing", "unreadable"]

MISSING: Final = UnknownTopicOrPartitionError.errno


class Wanted(Struct, frozen=True):
    """The settings for topics: overrides of configs, number of in-sync replicas, and replication.

    If `replication` is 0, the replication is not compared. Surplus replicas are not a difference.
    """

    overrides: Overrides = {}
    in_sync: int = 0
    replication: int = 0

    @staticmethod
    def of(kafka: KafkaSettings) -> Wanted:
        """Return the values of these settings."""
        return Wanted(kafka.topic_configs, kafka.min_insync_replicas, kafka.replication)

    def configs(self, topic: str, planned: Configs, replication: int) -> Configs:
        """Return the planned configs, with overrides, for a topic with this replication."""
        return wanted_configs(topic, planned, replication, self.overrides, self.in_sync)


PLANNED: Final = Wanted()


class TopicReport(Struct, frozen=True):
    """One topic compared with its plan. "unreadable" means that its configs cannot be read."""

    topic: str
    status: Status
    differences: list[Difference] = []
    reason: str = ""
    replication: int = 0  # as found

    def is_short(self, wanted: int) -> bool:
        """Return True if the topic has fewer replicas than wanted."""
        return 0 < self.replication < wanted


def compare(
    admin: Any, planned: Mapping[str, Configs], wanted: Wanted = PLANNED
) -> list[TopicReport]:
    """Compare each of these topics with its plan. Return sorted reports. Raises KafkaError."""
    if not planned:
        return []
    described = {topic["name"]: topic for topic in admin.describe_topics(sorted(planned))}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(planned)]
    found = admin.describe_configs(resources, config_filter="all").get("topic", {})
    return [
        _report(name, planned[name], described.get(name), found.get(name, {}), wanted)
        for name in sorted(planned)
    ]


def alter(admin: Any, wanted: Iterable[Difference]) -> dict[str, str]:
    """Alter these configs. Return the reason of the failure for each topic, or "" after success."""
    by_topic: dict[str, Configs] = {}
    for each in wanted:
        by_topic.setdefault(each.topic, {})[each.config] = each.wanted
    results: dict[str, str] = {}
    # Send one request per topic, because a refusal for one topic must not prevent the alterations
    # of other topics.
    for topic, configs in by_topic.items():
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs)
        try:
            answer = admin.alter_configs([resource], raise_on_unknown=False)["topic"][topic]
        except KafkaError as error:
            answer = str(error)
        results[topic] = "" if answer == "OK" else answer
    return results


def align(
    admin: Any, planned: Mapping[str, Configs], wanted: Wanted = PLANNED
) -> list[TopicReport]:
    """Log all differences. Correct the differences whose correction deletes no records."""
    reports = compare(admin, planned, wanted)
    differing = [each for report in reports for each in report.differences]
    results = alter(admin, [each for each in differing if not each.deletes])
    for report in reports:
        if report.status == "unreadable":
            log.warning("topic %s: its configs cannot be read: %s", report.topic, report.reason)
        _log(report, results.get(report.topic, ""))
        if report.is_short(wanted.replication):
            log.warning(
                "topic %s has %d copies, but kafka.replication is %d (`sluice topics plan` "
                "shows the difference)",
                report.topic,
                report.replication,
                wanted.replication,
            )
    return reports


def _log(report: TopicReport, refused: str) -> None:
    altered = [each for each in report.differences if not each.deletes]
    kept = [each for each in report.differences if each.deletes]
    if altered and refused:
        log.warning(
            "topic %s: the configs could not be altered: %s: %s",
            report.topic,
            shown(altered),
            refused,
        )
    elif altered:
        log.info("topic %s: the configs were altered: %s", report.topic, shown(altered))
    if kept:
        log.warning(
            "topic %s keeps records longer than planned: %s (`sluice topics apply` alters it)",
            report.topic,
            shown(kept),
        )


def shown(found: Iterable[Difference]) -> str:
    """Format differences as one line."""
    return ", ".join(f"{each.config} {each.found or '(none)'} -> {each.wanted}" for each in found)


def _report(
    name: str,
    planned: Configs,
    described: Mapping[str, Any] | None,
    found: Mapping[str, Mapping[str, Any]],
    wanted: Wanted,
) -> TopicReport:
    code = described["error_code"] if described else MISSING
    if code == MISSING:
        return TopicReport(name, "missing")
    if code or described is None or not found:
        # kafka-python 3.0.12 drops the error code of a resource that this client may not describe.
        reason = for_code(code).__name__ if code else "the brokers show none (ACL DescribeConfigs)"
        return TopicReport(name, "unreadable", reason=reason)
    replication = min((len(part["replica_nodes"]) for part in described["partitions"]), default=1)
    configs = wanted.configs(name, planned, replication)
    values = {config: str(data["value"]) for config, data in found.items() if data["value"]}
    differing = differences(name, configs, values)
    is_short = replication < wanted.replication
    status: Status = "differs" if differing or is_short else "ok"
    return TopicReport(name, status, differing, replication=replication)


class Growth(Struct, frozen=True):
    """The replicas to add, by topic and partition, and the number of missing brokers."""

    assignments: Assignments
    lacking: int  # the number of brokers that the wanted replication lacks


def plan_growth(admin: Any, topics: list[str], wanted: int) -> Growth:
    """Plan more replicas for these topics. Raises KafkaError."""
    if not topics:
        return Growth({}, 0)
    cluster = admin.describe_cluster()
    brokers = {
        one["broker_id"]: one.get("rack") or ""
        for one in cluster["brokers"]
        if not one.get("is_fenced")
    }
    found = {
        (topic["name"], part["partition_index"]): part["replica_nodes"]
        for topic in admin.describe_topics(topics)
        for part in topic["partitions"]
    }
    return Growth(more_replicas(found, brokers, wanted), lacking_brokers(brokers, wanted))


def grow(admin: Any, assignments: Assignments) -> None:
    """Start adding these replicas. Raises KafkaError if the brokers refuse."""
    if not assignments:
        return
    wanted = {TopicPartition(*place): nodes for place, nodes in assignments.items()}
    for place, error in admin.alter_partition_reassignments(wanted).items():
        if error is not None:
            raise KafkaError(f"{place.topic}/{place.partition}: {error.__name__}")
