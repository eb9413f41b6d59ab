"""The KafkaTopic resources of Strimzi have the configs that the services and commands plan."""

from __future__ import annotations

from typing import Any, Final

import pytest

from shared.topics import names
from shared.topics.configs import wanted_configs
from tests.support.chart.rendering import render
from tests.support.chart.resources import of_kind

OVERRIDES: Final[dict[str, dict[str, str]]] = {
    "mail.outbound.*": {"retention.ms": "2592000000", "segment.bytes": "1000000"},
    "mail.deferred.1?": {"retention.ms": "86400000"},
    "mail.[!e]*": {"segment.ms": "3600000"},
    "mail.[er]*": {"retention.bytes": "1000000000"},
    # A dot stands for itself, and the whole name has to match.
    "mail.event.": {"cleanup.policy": "compact"},
    "mail": {"cleanup.policy": "compact"},
    # Later ones win.
    "mail.outbound.default": {"retention.ms": "1000"},
    "mail.events": {"min.insync.replicas": "3"},
}


@pytest.mark.parametrize(
    ("copies", "in_sync", "allows"), [(3, 2, False), (5, 3, False), (1, 1, True)]
)
def test_every_topic_is_as_planned(copies: int, in_sync: int, allows: bool) -> None:
    values: dict[str, Any] = {
        "kafka": {
            "partitions": 7,
            "replication": copies,
            "minInSyncReplicas": in_sync,
            "allowLowReplication": allows,
        },
        "lanes": {"gmail": ["gmail.com"]},
        "topics": {"manage": "strimzi", "strimzi": {"cluster": "mail"}},
        "settings": {"kafka": {"topic_configs": OVERRIDES}},
    }
    found = {
        each["metadata"]["name"]: each["spec"] for each in of_kind(render(values), "KafkaTopic")
    }
    plans = {plan.name: plan for plan in names.plans(("default", "gmail"), 7)}
    assert found.keys() == plans.keys()
    for name, plan in plans.items():
        assert found[name]["partitions"] == plan.partitions
        assert found[name]["replicas"] == copies
        wanted = wanted_configs(name, plan.configs, copies, OVERRIDES, in_sync)
        assert found[name]["config"] == wanted, name
