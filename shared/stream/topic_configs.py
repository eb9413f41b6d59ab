"""Compares the topics' configuration on the brokers with the plan, and alters differences.

Owns: the requests to the brokers. Does not own: the plan (shared/topics/configs.py), creating
topics (admin.py).

At the start of a service only differences whose correction deletes no records are altered: if an
operator keeps records longer than planned, that stays, and the log and `./sluice topics plan` show
it. If an ACL forbids altering or reading configs, one line is logged and the service continues.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from msgspec import Struct

from shared.settings.sections import KafkaSettings
from shared.topics.configs import Configs, Difference, Overrides, differences, wanted_configs

log = logging.getLogger(__name__)

Status = Literal["ok", "differs", "missing", "unreadable"]

MISSING: Final = UnknownTopicOrPartitionError.errno


class Wanted(Struct, frozen=True):
    """The topic values in the settings: overrides of configs, replicas in sync, replication.

    `replication` 0: not compared. More copies than wanted are no difference.
    """

    overrides: Overrides = {}
    in_sync: int = 0
    replication: int = 0

    @staticmethod
    def of(kafka: KafkaSettings) -> Wanted:
        """Return what these settings say."""
        return Wanted(kafka.topic_configs, kafka.min_insync_replicas, kafka.replication)

    def configs(self, topic: str, planned: Configs, replication: int) -> Configs:
        """Return the configs of a topic that has this replication."""
        return wanted_configs(topic, planned, replication, self.overrides, self.in_sync)


PLANNED: Final = Wanted()


class TopicReport(Struct, frozen=True):
    """One topic compared with its plan. "unreadable": the brokers do not return its configs."""

    topic: str
    status: Status
    differences: list[Difference] = []
    reason: str = ""
    replication: int = 0  # as found

    def is_short(self, wanted: int) -> bool:
        """Whether the topic has fewer copies than wanted."""
        return 0 < self.replication < wanted


def compare(
    admin: Any, planned: Mapping[str, Configs], wanted: Wanted = PLANNED
) -> list[TopicReport]:
    """Compare each of these topics with its plan; sorted by name. Raises KafkaError."""
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
    """Alter these configs. Return the reason of each failure by topic; "" means altered."""
    by_topic: dict[str, Configs] = {}
    for each in wanted:
        by_topic.setdefault(each.topic, {})[each.config] = each.wanted
    results: dict[str, str] = {}
    # One topic per request: a refusal for one topic must not keep the others from being altered.
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
    """Correct and log the differences if that deletes no records; return all differences found."""
    reports = compare(admin, planned, wanted)
    differing = [each for report in reports for each in report.differences]
    results = alter(admin, [each for each in differing if not each.deletes])
    for report in reports:
        if report.status == "unreadable":
            log.warning("topic %s: its configs cannot be read: %s", report.topic, report.reason)
        _log(report, results.get(report.topic, ""))
        if report.is_short(wanted.replication):
            log.warning(
                "topic %s has %d copies, kafka.replication is %d (`./sluice topics plan`)",
                report.topic,
                report.replication,
                wanted.replication,
            )
    return reports


def _log(report: TopicReport, refused: str) -> None:
    altered = [each for each in report.differences if not each.deletes]
    kept = [each for each in report.differences if each.deletes]
    if altered and refused:
        log.warning("topic %s: configs not altered: %s: %s", report.topic, shown(altered), refused)
    elif altered:
        log.info("topic %s: configs altered: %s", report.topic, shown(altered))
    if kept:
        log.warning(
            "topic %s keeps records longer than planned: %s (`./sluice topics apply` alters it)",
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
        # kafka-python 3.0.12 drops the error code of a resource that may not be described.
        reason = for_code(code).__name__ if code else "the brokers show none (ACL DescribeConfigs)"
        return TopicReport(name, "unreadable", reason=reason)
    replication = min((len(part["replica_nodes"]) for part in described["partitions"]), default=1)
    configs = wanted.configs(name, planned, replication)
    values = {config: str(data["value"]) for config, data in found.items() if data["value"]}
    differing = differences(name, configs, values)
    is_short = replication < wanted.replication
    status: Status = "differs" if differing or is_short else "ok"
    return TopicReport(name, status, differing, replication=replication)
