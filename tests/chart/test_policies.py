"""What holds for every pod and resource of the chart, whatever the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.support.chart.rendering import NAMESPACE, VALUE_SETS, render_set
from tests.support.chart.resources import containers, of_kind, pods

Spec = dict[str, Any]


def restricted_pod(pod: Spec) -> bool:
    security = pod["securityContext"]
    return (
        security["runAsNonRoot"] is True
        and security["runAsUser"] > 0
        and security["seccompProfile"] == {"type": "RuntimeDefault"}
    )


POD_POLICIES: Final[dict[str, Callable[[Spec], bool]]] = {
    "it runs as an ordinary user with a profile of system calls": restricted_pod,
    "it has no token for Kubernetes": lambda pod: pod["automountServiceAccountToken"] is False,
    "it gets no variables of services": lambda pod: pod["enableServiceLinks"] is False,
    "it shares nothing with its node": lambda pod: (
        not any(pod.get(each) for each in ("hostNetwork", "hostPID", "hostIPC"))
        and not any("hostPath" in volume for volume in pod.get("volumes", ()))
    ),
    "its secrets are not readable by everybody": lambda pod: all(
        volume["secret"]["defaultMode"] & 0o007 == 0
        for volume in pod.get("volumes", ())
        if "secret" in volume
    ),
    "its temporary files have a limit": lambda pod: all(
        volume["emptyDir"].get("sizeLimit")
        for volume in pod.get("volumes", ())
        if "emptyDir" in volume
    ),
}

CONTAINER_POLICIES: Final[dict[str, Callable[[Spec], bool]]] = {
    "it gains no privileges": lambda each: (
        each["securityContext"]["allowPrivilegeEscalation"] is False
        and not each["securityContext"].get("privileged")
    ),
    "its root is read-only": lambda each: each["securityContext"]["readOnlyRootFilesystem"] is True,
    "it has no capabilities": lambda each: (
        each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    ),
    "it asks for processor and memory, and has a limit of memory": lambda each: (
        {"cpu", "memory"} <= each["resources"]["requests"].keys()
        and "memory" in each["resources"]["limits"]
    ),
    "it is not throttled": lambda each: "cpu" not in each["resources"]["limits"],
    "its image has a fixed version": lambda each: (
        ("@sha256:" in each["image"] or ":" in each["image"].rpartition("/")[2])
        and not each["image"].endswith(":latest")
    ),
    "its ports need no privilege": lambda each: all(
        port["containerPort"] > 1024 for port in each.get("ports", ())
    ),
    "no password is in its environment": lambda each: all(
        "value" not in variable or variable["name"].endswith("_FILE")
        for variable in each.get("env", ())
        if "PASSWORD" in variable["name"] or "SECRET" in variable["name"]
    ),
}


@pytest.mark.parametrize("policy", POD_POLICIES)
@pytest.mark.parametrize("name", VALUE_SETS)
def test_of_every_pod(name: str, policy: str) -> None:
    found = dict(pods(render_set(name)))
    assert found
    assert [pod for pod, spec in found.items() if not POD_POLICIES[policy](spec)] == []


@pytest.mark.parametrize("policy", CONTAINER_POLICIES)
@pytest.mark.parametrize("name", VALUE_SETS)
def test_of_every_container(name: str, policy: str) -> None:
    found = list(containers(render_set(name)))
    assert found
    assert [pod for pod, each in found if not CONTAINER_POLICIES[policy](each)] == []


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_process_is_asked_for_its_health_and_drained(name: str) -> None:
    for workload in of_kind(render_set(name), "StatefulSet"):
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        ports = {each["name"] for each in container["ports"]}
        for probe, path in (("startup", "/live"), ("liveness", "/live"), ("readiness", "/ready")):
            asked = container[f"{probe}Probe"]["httpGet"]
            assert asked == {"path": path, "port": "telemetry"}
            assert asked["port"] in ports
        drain = next(
            (
                float(each["value"])
                for each in container["env"]
                if each["name"] == "SLUICE_RUNTIME__DRAIN_TIMEOUT_S"
            ),
            45.0,
        )
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
        assert pod["terminationGracePeriodSeconds"] > drain + before["seconds"]


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_chart_creates_no_secret_and_no_permission(name: str) -> None:
    kinds = {each["kind"] for each in render_set(name)}
    assert kinds.isdisjoint({"Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_resource_is_labelled_and_in_the_namespace(name: str) -> None:
    for each in render_set(name):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "sluice"
        assert labels["app.kubernetes.io/instance"] == "mail"
        allowed = {NAMESPACE, "kafka"} if each["kind"] == "KafkaTopic" else {NAMESPACE}
        assert each["metadata"]["namespace"] in allowed


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_selector_selects_its_own_pods_only(name: str) -> None:
    resources = render_set(name)
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(resources, "StatefulSet", "Deployment", "Job")
    }
    for each in of_kind(
        resources, "StatefulSet", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "Service"
    ):
        spec = each["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        wanted = selector.get("matchLabels", selector)
        selected = [pod for pod, own in labels.items() if wanted.items() <= own.items()]
        if wanted.get("app.kubernetes.io/component") != "test":
            assert len(selected) == 1, each["metadata"]["name"]


def test_an_upgrade_changes_no_field_that_kubernetes_keeps() -> None:
    fixed = ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")
    found: dict[str, list[Spec]] = {}
    for name in VALUE_SETS:
        for each in of_kind(render_set(name), "StatefulSet"):
            kept = {field: each["spec"].get(field) for field in fixed}
            found.setdefault(each["metadata"]["name"], []).append(kept)
    assert len(found) == 8
    for workload, specs in found.items():
        assert all(spec == specs[0] for spec in specs), workload


def test_topics_outlive_the_release() -> None:
    for name in ("multi-lane", "everything"):
        for topic in of_kind(render_set(name), "KafkaTopic"):
            assert topic["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize("name", VALUE_SETS)
def test_volumes_and_mounts_belong_together(name: str) -> None:
    for pod, spec in pods(render_set(name)):
        volumes = [each["name"] for each in spec.get("volumes", ())]
        mounted = [each["name"] for each in spec["containers"][0].get("volumeMounts", ())]
        assert sorted(volumes) == sorted(mounted), pod
        assert len(volumes) == len(set(volumes)), pod
