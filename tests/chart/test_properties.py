"""Whatever the values: they are refused in a sentence of ours, or what is rendered is sound."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chart.kubernetes_schemas import faults, newest_versions
from tests.support.chart.rendering import ChartRefused, Resource, render
from tests.support.chart.resources import by_component, containers, environment, of_kind

COMPONENTS: Final = ("ingest", "validate", "deliver", "billing")
# Parts of ingest and validate in processes of their own, and the API for platforms.
PARTS: Final = ("front", "bounce", "responses", "platform")
# Their processes share no partitions.
DOORS_AND_APIS: Final = frozenset({"front", "bounce", "platform"})
LISTENS: Final = {"front": "SLUICE_INGEST__SMTP_LISTEN", "bounce": "SLUICE_INGEST__BOUNCE_LISTEN"}
COUNTS: Final = "SLUICE_VALIDATE__COUNTS_BOUNCES"
# How Helm introduces a sentence of `fail`; every other error is a fault of the templates.
OUR_REFUSAL: Final = re.compile(r"execution error at \(sluice/templates/[\w.]+:\d+:\d+\): \w+")

few = st.integers(1, 9)
seconds = st.integers(0, 60)
names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\Z")
domains = st.lists(st.sampled_from(["a.example", "b.example"]), unique=True)

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
    {
        "components": st.fixed_dictionaries(
            {}, optional=dict.fromkeys((*COMPONENTS, *PARTS), component)
        )
    },
    optional={
        "kafka": st.fixed_dictionaries(
            {"partitions": few, "intakePartitions": few},
            optional={
                "allowLowReplication": st.booleans(),
                "replication": few,
                "sasl": st.fixed_dictionaries(
                    {
                        "mechanism": st.sampled_from(["", "PLAIN", "SCRAM-SHA-512"]),
                        "secret": st.sampled_from(["s", "s-{name}"]),
                    },
                    optional={"username": st.just("sluice-{name}")},
                ),
                "tls": st.fixed_dictionaries({"enabled": st.booleans()}),
            },
        ),
        "lanes": st.none() | st.dictionaries(names, domains, max_size=3),
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
        "operator": st.fixed_dictionaries({"enabled": st.booleans()}),
        "returnPath": st.fixed_dictionaries({"secret": st.just("keys"), "used": st.booleans()}),
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


def selects(policy_or_service: Resource) -> dict[str, str]:
    spec = policy_or_service["spec"]
    found: dict[str, str] = spec.get("podSelector", {}).get("matchLabels") or spec["selector"]
    return found


def selected(resources: list[Resource], kind: str, name: str) -> list[str]:
    """The components whose pods the Service or NetworkPolicy of this name selects."""
    (found,) = [each for each in of_kind(resources, kind) if each["metadata"]["name"] == name]
    labels = selects(found).items()
    return [
        component_name
        for component_name, each in by_component(resources, "StatefulSet").items()
        if labels <= each["spec"]["template"]["metadata"]["labels"].items()
    ]


def check_parts(resources: list[Resource], doors: dict[str, bool]) -> None:
    """Every part of the work has one component that does it, and its traffic goes there."""
    sets = by_component(resources, "StatefulSet")
    environments = {
        name: environment(each["spec"]["template"]["spec"]["containers"][0])
        for name, each in sets.items()
    }
    full_name = sets[next(iter(sets))]["metadata"]["name"].rpartition("-")[0]
    for door_name, is_open in doors.items():
        owners = [name for name, each in environments.items() if LISTENS[door_name] in each]
        assert owners == ([door_name if door_name in sets else "ingest"] if is_open else [])
        if not is_open:
            continue
        named = f"{full_name}-{door_name}-door"
        assert selected(resources, "Service", named) == owners
        if of_kind(resources, "NetworkPolicy"):
            assert selected(resources, "NetworkPolicy", named) == owners
    for part in LISTENS.keys() & sets.keys():
        assert environments[part]["SLUICE_INGEST__READS_INTAKES"] == "false"
    if "validate" in sets:
        does_not_count = environments["validate"].get(COUNTS) == "false"
        assert does_not_count == ("responses" in sets)


def check_sound(given_values: dict[str, Any]) -> None:
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
        if name in DOORS_AND_APIS:
            continue
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
    doors = {part: bool(given_values.get(f"{part}Door", {}).get("enabled")) for part in LISTENS}
    check_parts(resources, doors)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(values)
def test_what_is_rendered_is_sound(given_values: dict[str, Any]) -> None:
    check_sound(given_values)


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(values)
def test_what_is_rendered_is_sound_for_many_values(given_values: dict[str, Any]) -> None:
    check_sound(given_values)


open_door = st.fixed_dictionaries(
    {
        "enabled": st.booleans(),
        "hostName": st.just("in.example.com"),
        "certificateSecret": st.just("tls"),
    }
)


@st.composite
def forms(draw: st.DrawFn) -> dict[str, Any]:
    """Values that are accepted, with any of the parts apart."""
    doors = {f"{part}Door": draw(open_door) for part in LISTENS}
    apart = {
        part: {"enabled": draw(st.booleans()) and doors[f"{part}Door"]["enabled"]}
        for part in LISTENS
    }
    needs_ingest = any(
        doors[f"{part}Door"]["enabled"] and not apart[part]["enabled"] for part in LISTENS
    )
    components: dict[str, Any] = {
        **apart,
        "ingest": {"enabled": needs_ingest or draw(st.booleans())},
        "responses": {"enabled": draw(st.booleans())},
        "validate": {"enabled": draw(st.booleans())},
    }
    for each in components.values():
        least = draw(st.integers(1, 3))
        mode = draw(st.sampled_from(["none", "hpa", "keda"]))
        each["replicas"] = least
        each["autoscaling"] = {"mode": mode, "min": least, "max": least}
    return {
        **doors,
        "components": components,
        "networkPolicy": {"enabled": draw(st.booleans())},
        "fullnameOverride": draw(st.sampled_from(["mail", "a-front-door", "x"])),
    }


def check_forms(given_values: dict[str, Any]) -> None:
    resources = render(given_values)
    newest = newest_versions()[-1]
    assert [fault for each in resources for fault in faults(each, newest)] == []
    doors = {part: given_values[f"{part}Door"]["enabled"] for part in LISTENS}
    check_parts(resources, doors)
    for name, wanted in given_values["components"].items():
        assert (name in processes(resources)) == wanted["enabled"]
        if wanted["enabled"]:
            assert processes(resources)[name] == wanted["replicas"]


@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(forms())
def test_each_part_is_done_by_one_component_whatever_runs_apart(
    given_values: dict[str, Any],
) -> None:
    check_forms(given_values)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(forms())
def test_each_part_is_done_by_one_component_in_many_forms(given_values: dict[str, Any]) -> None:
    check_forms(given_values)
