"""Names, several releases in one namespace, and what an operator adds to the pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart.rendering import (
    HELMS,
    REQUIRED,
    ChartRefused,
    Resource,
    load,
    merged,
    render,
    run_helm,
)
from tests.support.chart.resources import by_component, of_kind, pods

LONGEST = "r" * 52
ALL = {name: {"enabled": True} for name in ("responses", "platform")} | {
    "deliver": {"autoscaling": {"mode": "keda"}}
}


def as_release(name: str, **changes: Any) -> list[Resource]:
    values = merged(REQUIRED, {"components": ALL, **changes})
    return load(run_helm("template", HELMS["helm-4"], values=values, release=name))


def names(resources: list[Resource]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in resources}


def test_two_releases_in_one_namespace_share_no_resource_and_no_pod() -> None:
    one, two = as_release("one"), as_release("two")
    assert not names(one) & names(two)
    for workload in of_kind(one, "StatefulSet"):
        selector = workload["spec"]["selector"]["matchLabels"].items()
        others = [
            each["spec"]["template"]["metadata"]["labels"] for each in of_kind(two, "StatefulSet")
        ]
        assert not [labels for labels in others if selector <= labels.items()]


def test_the_longest_names_fit_and_stay_different() -> None:
    one, two = as_release(f"{LONGEST}1"), as_release(f"{LONGEST}2")
    assert not names(one) & names(two)
    for kind, name in names(one):
        # With `-<hash>` the name of a StatefulSet becomes a label.
        assert len(name) <= (52 if kind == "StatefulSet" else 63)


def test_another_name_of_the_chart_is_in_names_and_selectors_alike() -> None:
    resources = render({"nameOverride": "mailer", "monitoring": {"podMonitor": {"enabled": True}}})
    assert ("StatefulSet", "mail-mailer-deliver") in names(resources)
    (monitor,) = of_kind(resources, "PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    for workload in of_kind(resources, "StatefulSet"):
        assert wanted <= workload["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["1mail", "mail.eu"])
def test_a_release_whose_name_no_service_can_have_needs_another_one(name: str) -> None:
    with pytest.raises(ChartRefused, match="fullnameOverride: required, because"):
        as_release(name)
    assert as_release(name, fullnameOverride="mail")


def test_every_pod_is_placed_where_the_defaults_say() -> None:
    tolerations = [{"key": "mail", "operator": "Exists"}]
    values = {"defaults": {"nodeSelector": {"disk": "ssd"}, "tolerations": tolerations}}
    found = dict(pods(render(values)))
    assert {"mail-sluice-topics", "mail-sluice-test"} <= found.keys()
    for pod in found.values():
        assert (pod["nodeSelector"], pod["tolerations"]) == ({"disk": "ssd"}, tolerations)


def test_credentials_of_the_registry_are_named_in_either_form() -> None:
    for pod in dict(pods(render({"imagePullSecrets": ["one", {"name": "two"}]}))).values():
        assert pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


def test_variables_volumes_and_labels_of_the_operator_are_in_the_pods_of_that_component() -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    volume = {"name": "more", "configMap": {"name": "more"}}
    mount = {"name": "more", "mountPath": "/etc/more", "readOnly": True}
    added = {
        "extraEnv": [proxy],
        "extraVolumes": [volume],
        "extraVolumeMounts": [mount],
        "podLabels": {"egress": "mail"},
        "affinity": {"nodeAffinity": {}},
    }
    workloads = by_component(render({"components": {"deliver": added}}), "StatefulSet")
    template = workloads["deliver"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert proxy in container["env"]
    assert mount in container["volumeMounts"]
    assert volume in template["spec"]["volumes"]
    assert template["metadata"]["labels"]["egress"] == "mail"
    assert template["spec"]["affinity"] == {"nodeAffinity": {}}
    others = workloads["validate"]["spec"]["template"]
    assert proxy not in others["spec"]["containers"][0]["env"]
    assert "egress" not in others["metadata"]["labels"]


def test_the_pods_of_hooks_take_what_the_defaults_say_and_annotations_of_their_own() -> None:
    values = {
        "defaults": {
            "affinity": {"nodeAffinity": {}},
            "podLabels": {"team": "mail"},
            "podAnnotations": {"a": "b", "sidecar.istio.io/inject": "true"},
            "priorityClassName": "mail",
        },
        "topics": {"job": {"podAnnotations": {"sidecar.istio.io/inject": "false"}}},
        "test": {"podAnnotations": {"c": "d"}},
    }
    resources = render(values)
    (job,), (test,) = of_kind(resources, "Job"), of_kind(resources, "Pod")
    for pod, own in (
        (job["spec"]["template"], {"a": "b", "sidecar.istio.io/inject": "false"}),
        (test, {"a": "b", "sidecar.istio.io/inject": "true", "c": "d"}),
    ):
        assert own.items() <= pod["metadata"]["annotations"].items()
        assert pod["metadata"]["labels"]["team"] == "mail"
        assert pod["spec"]["priorityClassName"] == "mail"
        assert pod["spec"]["affinity"] == {"nodeAffinity": {}}


def test_a_cluster_may_choose_the_users_and_where_names_are_looked_up() -> None:
    values = {
        "podSecurity": {"runAsUser": None, "fsGroup": None, "runAsGroup": 20_000},
        "networkPolicy": {"dnsPorts": [5353]},
        "components": {
            "deliver": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}}
        },
    }
    resources = render(values)
    for _, pod in pods(resources):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsGroup"] == 20_000
        assert not {"runAsUser", "fsGroup"} & security.keys()
    for policy in of_kind(resources, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", [])[:1]:
            assert {each["port"] for each in rule["ports"]} == {5353}
    workloads = by_component(resources, "StatefulSet")
    deliver = workloads["deliver"]["spec"]["template"]["spec"]
    assert (deliver["dnsPolicy"], deliver["dnsConfig"]) == ("None", {"nameservers": ["192.0.2.53"]})
    assert "dnsPolicy" not in workloads["validate"]["spec"]["template"]["spec"]
