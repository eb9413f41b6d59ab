"""The configs of each topic, and which differences are altered automatically."""

from __future__ import annotations

import pytest

from shared.topics import names
from shared.topics.configs import (
    Difference,
    differences,
    lacking_brokers,
    min_in_sync,
    more_replicas,
    wanted_configs,
)

DAY_MS = 86_400_000
EXPLICIT = {
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.type",
    "segment.bytes",
    "segment.ms",
}
OWN = [names.intake_plan("shop"), names.client_events_plan("shop")]
PLANS = [*names.plans(("default", "gmail")), *OWN]
THREE = {1: "", 2: "", 3: ""}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_every_topic_names_what_decides_how_long_a_record_is_kept(plan: names.TopicPlan) -> None:
    assert plan.configs.keys() >= EXPLICIT
    assert plan.configs["message.timestamp.type"] == "LogAppendTime"
    assert plan.configs["compression.type"] == "producer"
    if plan.configs["cleanup.policy"] == "delete":
        assert plan.configs["retention.bytes"] == "-1"
        assert int(plan.configs["retention.ms"]) >= 7 * DAY_MS


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_topic_is_known_again_by_its_name(plan: names.TopicPlan) -> None:
    assert names.configs_of(plan.name) == plan.configs


@pytest.mark.parametrize(
    "name", ["mail.intake.", "mail.intake.Shop", "mail.intake.a.b", "other", "mail.unknown"]
)
def test_topics_of_others_are_left_alone(name: str) -> None:
    assert names.configs_of(name) is None


@pytest.mark.parametrize(("replication", "in_sync"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_one_replica_may_be_down(replication: int, in_sync: int) -> None:
    assert min_in_sync(replication) == in_sync
    wanted = wanted_configs("mail.events", {"a": "1"}, replication, {})
    assert wanted == {"a": "1", "min.insync.replicas": str(in_sync)}


def test_the_installations_configs_go_before_the_plan_and_the_last_one_counts() -> None:
    overrides = {
        "mail.*": {"retention.ms": "1", "segment.ms": "2"},
        "mail.intake.shop": {"retention.ms": "3"},
        "mail.intake.other": {"retention.ms": "4"},
    }
    planned = {"retention.ms": "9", "cleanup.policy": "delete"}
    wanted = wanted_configs("mail.intake.shop", planned, 1, overrides)
    assert wanted == {
        "retention.ms": "3",
        "segment.ms": "2",
        "cleanup.policy": "delete",
        "min.insync.replicas": "1",
    }


def test_only_what_differs_is_a_difference() -> None:
    found = {"a": "1", "b": "2", "other": "5"}
    assert differences("t", {"a": "1", "b": "3", "c": "4"}, found) == [
        Difference("t", "b", "2", "3"),
        Difference("t", "c", "", "4"),
    ]


@pytest.mark.parametrize(
    ("config", "found", "wanted", "deletes"),
    [
        ("retention.ms", "2", "1", True),
        ("retention.ms", "1", "2", False),
        ("retention.ms", "-1", "1", True),
        ("retention.ms", "1", "-1", False),
        ("retention.bytes", "-1", "1000", True),
        ("retention.bytes", "1000", "-1", False),
        ("delete.retention.ms", "2", "1", True),
        ("segment.ms", "2", "1", False),
        ("cleanup.policy", "compact", "delete", False),
        ("message.timestamp.type", "CreateTime", "LogAppendTime", False),
        ("retention.ms", "", "1", False),
    ],
)
def test_a_difference_that_shortens_what_is_kept_deletes(
    config: str, found: str, wanted: str, deletes: bool
) -> None:
    assert Difference("t", config, found, wanted).deletes is deletes


@pytest.mark.parametrize(
    ("found", "brokers", "wanted", "planned"),
    [
        ({("t", 0): [1]}, THREE, 3, {("t", 0): [1, 2, 3]}),
        ({("t", 0): [1, 2, 3]}, THREE, 3, {}),
        ({("t", 0): [1, 2, 3]}, THREE, 2, {}),  # none is removed
        ({("t", 0): [2]}, {1: "", 2: ""}, 3, {}),
        # The broker with fewest replicas first.
        ({("t", 0): [1], ("t", 1): [2]}, THREE, 2, {("t", 0): [1, 3], ("t", 1): [2, 1]}),
        # Another rack before another broker of the same rack.
        ({("t", 0): [1]}, {1: "a", 2: "a", 3: "b"}, 2, {("t", 0): [1, 3]}),
        # A broker that is away keeps its replica.
        ({("t", 0): [9]}, {1: "", 2: ""}, 2, {("t", 0): [9, 1]}),
    ],
)
def test_replicas_are_added_and_none_is_moved(
    found: dict[tuple[str, int], list[int]],
    brokers: dict[int, str],
    wanted: int,
    planned: dict[tuple[str, int], list[int]],
) -> None:
    assert more_replicas(found, brokers, wanted) == planned


def test_lacking_brokers_are_counted() -> None:
    assert [lacking_brokers(THREE, wanted) for wanted in (2, 3, 5)] == [0, 0, 2]
