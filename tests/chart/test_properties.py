"""Whatever the values: they are refused in a sentence of ours, or what is rendered is sound."""

from __future__ import annotations

import re
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chart.kubernetes_schemas import faults, newest_versions
from tests.support.chart.rendering import ChartRefused, Resource, render
from tests.support.chart.resources import by_component, containers, environment, of_kind

COMPONENTS: Final = ("ingest", "validate", "deliver", "billing")
# How Helm introduces a sentence of `fail`; every other error is a fault of the templates.
OUR_REFUSAL: Final = re.compile(r"execution error at \(sluice/templates/[\w.]+:\d+:\d+\): \w+")

few = st.integers(1, 9)
seconds = st.integers(0, 60)
names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\Z")
domains = st.lists(st.sampled_from(["a.example", "b.example"]), min_size=1, unique=True)

component = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "replicas": few,
        "autoscaling": st.fixed_dictionaries(
            {"mode": st.sampled_from(["none", "hpa", "keda"]), "min": few, "max": few}
        ),
        "preStopSeconds": seconds,
        "terminationGracePeriodSeconds": seconds,
        "maxUnavailable": st.integers(0, 3),
        "settings": st.fixed_dictionaries(
            {"runtime": st.fixed_dictionaries({"drain_timeout_s": st.floats(0, 60)})}
        ),
    },
)
door = st.fixed_dictionaries(
    {"enabled": st.booleans(), "hostName": st.sampled_from(["", "in.example.com"])},
    optional={
        "certificateSecret": st.sampled_from(["", "tls"]),
        "service": st.fixed_dictionaries(
            {"type": st.sampled_from(["LoadBalancer", "NodePort", "ClusterIP"])}
        ),
    },
)
way = st.fixed_dictionaries(
    {"enabled": st.booleans(), "hostName": st.sampled_from(["", "a.example"])},
    optional={"certificateSecret": st.sampled_from(["", "tls"])},
)
values = st.fixed_dictionaries(
    {"components": st.fixed_dictionaries({}, optional=dict.fromkeys(COMPONENTS, component))},
    optional={
        "kafka": st.fixed_dictionaries(
            {"partitions": few, "intakePartitions": few},
            optional={
                "allowLowReplication": st.booleans(),
                "replication": few,
                "sasl": st.fixed_dictionaries(
                    {"mechanism": st.sampled_from(["", "PLAIN"]), "secret": st.just("s")}
                ),
                "tls": st.fixed_dictionaries({"enabled": st.booleans()}),
            },
        ),
        "lanes": st.dictionaries(names, st.none() | domains, max_size=3),
        "frontDoor": door,
        "bounceDoor": door,
        "topics": st.fixed_dictionaries(
            {"manage": st.sampled_from(["job", "none", "strimzi"])},
            optional={"strimzi": st.just({"cluster": "mail"})},
        ),
        "api": st.fixed_dictionaries(
            {},
            optional={
                "allowFrom": st.just([{"podSelector": {}}]),
                "ingress": way,
                "httpRoute": st.fixed_dictionaries(
                    {"enabled": st.booleans(), "hostName": st.sampled_from(["", "a.example"])},
                    optional={"parentRefs": st.just([{"name": "web"}])},
                ),
            },
        ),
        "networkPolicy": st.fixed_dictionaries({"enabled": st.booleans()}),
        "fullnameOverride": names.filter(lambda name: name[0].isalpha()),
    },
)


def processes(resources: list[Resource]) -> dict[str, int]:
    """The most processes of each component."""
    found = {
        name: each["spec"].get("replicas", 0)
        for name, each in by_component(resources, "StatefulSet").items()
    }
    for each in of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject"):
        component_name = each["metadata"]["labels"]["app.kubernetes.io/component"]
        spec = each["spec"]
        found[component_name] = spec.get("maxReplicas") or spec["maxReplicaCount"]
    return found


def attempt(given_values: dict[str, Any]) -> tuple[list[Resource], str]:
    try:
        return render(given_values), ""
    except ChartRefused as refused:
        return [], str(refused)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(values)
def test_what_is_rendered_is_sound(given_values: dict[str, Any]) -> None:
    resources, refusal = attempt(given_values)
    assert not refusal or OUR_REFUSAL.search(refusal), refusal
    if refusal:
        return
    newest = newest_versions()[-1]
    assert [fault for each in resources for fault in faults(each, newest)] == []
    kafka = {"partitions": 12, "intakePartitions": 3, **given_values.get("kafka", {})}
    has_door = any(
        given_values.get(each, {}).get("enabled") for each in ("frontDoor", "bounceDoor")
    )
    for name, most in processes(resources).items():
        assert most >= 1
        if name != "ingest":
            assert most <= kafka["partitions"]
        elif not has_door:
            assert most <= kafka["intakePartitions"]
    for workload in of_kind(resources, "StatefulSet"):
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        drain = float(environment(container).get("SLUICE_RUNTIME__DRAIN_TIMEOUT_S", "45"))
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        assert pod["terminationGracePeriodSeconds"] > drain + sleep["seconds"]
    for _, container in containers(resources):
        assert container["securityContext"]["readOnlyRootFilesystem"]
