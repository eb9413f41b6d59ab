"""Processes are scaled by load, and never above the partitions that they share."""

from __future__ import annotations

from typing import Any

import pytest

from services.validate.edge.returns import processor as returns
from shared.topics import names
from tests.support.chart.rendering import VALUE_SETS, Resource, render, render_set
from tests.support.chart.resources import by_component, component_of, of_kind
from tools.chart.components import COMPONENTS


def scaled(resources: list[Resource], component: str) -> dict[str, Any]:
    spec: dict[str, Any] = by_component(resources, "ScaledObject")[component]["spec"]
    return spec


def triggers(resources: list[Resource], component: str) -> list[dict[str, str]]:
    return [
        each["metadata"]
        for each in scaled(resources, component)["triggers"]
        if each["type"] == "kafka"
    ]


def test_deliver_has_a_trigger_for_each_lane() -> None:
    found = triggers(render_set("multi-lane"), "deliver")
    lanes = ("default", "apple", "gmail", "gmx", "microsoft", "orange", "telekom", "yahoo")
    assert [each["topic"] for each in found] == [names.outbound(lane) for lane in lanes]
    assert {each["consumerGroup"] for each in found} == {"sluice.deliver"}
    assert {each["lagThreshold"] for each in found} == {"10000"}


def test_what_waits_on_a_retry_topic_starts_no_process() -> None:
    for name in VALUE_SETS:
        for each in of_kind(render_set(name), "ScaledObject"):
            topics = [one["metadata"].get("topic", "") for one in each["spec"]["triggers"]]
            assert not any(topic.startswith(names.DEFERRED_PREFIX) for topic in topics)


KEDA = {"mode": "keda", "min": 2, "max": 3}


RETURNED = (names.RETURNED, "sluice.returns")


@pytest.mark.parametrize(
    ("component", "read"),
    [
        ("validate", {(names.RECEIVED, "sluice.validate"), RETURNED}),
        # Bounces are counted by one process of all; returned mail is shared.
        ("responses", {RETURNED}),
        # Its group commits no offsets: every record of the log would count as lag.
        ("billing", set()),
        # Every intake of the group.
        ("ingest", {(None, "sluice.ingest")}),
    ],
)
def test_a_service_is_scaled_on_what_it_reads(
    component: str, read: set[tuple[str | None, str]]
) -> None:
    values = {"enabled": True, "autoscaling": KEDA}
    found = triggers(render({"components": {component: values}}), component)
    assert {(each.get("topic"), each["consumerGroup"]) for each in found} == read
    assert all(each["bootstrapServers"] == "k1:9092,k2:9093" for each in found)


def test_returned_mail_does_not_scale_a_validate_that_does_not_read_it() -> None:
    settings = {"validate": {"counts_bounces": False}}
    values = {"autoscaling": KEDA, "settings": settings}
    found = triggers(render({"components": {"validate": values}}), "validate")
    assert [each["topic"] for each in found] == [names.RECEIVED]


def test_the_group_of_returned_mail_is_the_one_that_its_readers_join() -> None:
    assert f"sluice.{returns.SERVICE}" == RETURNED[1]


@pytest.mark.parametrize("component", COMPONENTS)
def test_keda_falls_back_only_where_it_asks_kafka(component: str) -> None:
    door = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}
    values = {
        "frontDoor": door,
        "bounceDoor": door,
        "kafka": {"sasl": {"mechanism": "PLAIN", "secret": "s"}},
        "components": {component: {"enabled": True, "autoscaling": KEDA}},
    }
    resources = render(values)
    asks = bool(triggers(resources, component))
    assert asks is bool(COMPONENTS[component].lag or COMPONENTS[component].also)
    # KEDA's webhook refuses a fallback if all triggers are of the processor.
    assert ("fallback" in scaled(resources, component)) is asks
    assert bool(of_kind(resources, "TriggerAuthentication")) is asks


@pytest.mark.parametrize("name", VALUE_SETS)
def test_a_scaled_workload_has_no_number_of_its_own(name: str) -> None:
    resources = render_set(name)
    workloads = {each["metadata"]["name"]: each for each in of_kind(resources, "StatefulSet")}
    targets = [
        each["spec"]["scaleTargetRef"]["name"]
        for each in of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert len(targets) == len(set(targets))
    for workload, each in workloads.items():
        assert ("replicas" in each["spec"]) is (workload not in targets)
    assert set(targets) <= workloads.keys()


@pytest.mark.parametrize(
    ("kafka", "sasl", "parameters"),
    [
        ({}, None, None),
        ({"tls": {"enabled": True}}, None, None),
        ({"tls": {"enabled": True, "caSecret": "ca"}}, None, {"ca"}),
        (
            {"tls": {"enabled": True, "clientSecret": "me"}},
            None,
            {"cert", "key"},
        ),
        (
            {"sasl": {"mechanism": "PLAIN", "secret": "s"}},
            "plaintext",
            {"username", "password"},
        ),
        (
            {"sasl": {"mechanism": "SCRAM-SHA-512", "secret": "s"}},
            "scram_sha512",
            {"username", "password"},
        ),
        (
            {
                "sasl": {"mechanism": "OAUTHBEARER", "secret": "s"},
                "oauth": {"tokenUrl": "https://x/", "clientId": "c"},
            },
            "oauthbearer",
            {"username", "password", "oauthTokenEndpointUri"},
        ),
    ],
)
def test_keda_logs_in_as_the_services_do(
    kafka: dict[str, Any], sasl: str | None, parameters: set[str] | None
) -> None:
    resources = render({"kafka": kafka, "components": {"ingest": {"autoscaling": KEDA}}})
    (found,) = triggers(resources, "ingest")
    assert found.get("sasl") == sasl
    assert found["tls"] == ("enable" if "tls" in kafka else "disable")
    logins = of_kind(resources, "TriggerAuthentication")
    if parameters is None:
        assert logins == []
        return
    spec = logins[0]["spec"]
    given = [*spec.get("secretTargetRef", ()), *spec.get("env", ())]
    assert {each["parameter"] for each in given} == parameters
    references = {
        each["authenticationRef"]["name"]
        for each in scaled(resources, "ingest")["triggers"]
        if "authenticationRef" in each
    }
    assert references == {logins[0]["metadata"]["name"]}


def test_a_single_process_has_no_disruption_budget() -> None:
    assert of_kind(render_set("small"), "PodDisruptionBudget") == []


def test_the_topics_job_is_done_before_the_services_start() -> None:
    (job,) = of_kind(render_set("production"), "Job")
    hooks = job["metadata"]["annotations"]["helm.sh/hook"]
    assert hooks == "pre-install,pre-upgrade"
    (policy,) = [
        each
        for each in of_kind(render_set("production"), "NetworkPolicy")
        if component_of(each) == "topics"
    ]
    assert policy["metadata"]["annotations"]["helm.sh/hook"] == hooks
    notes = [each["metadata"]["annotations"] for each in (policy, job)]
    weights = [int(each["helm.sh/hook-weight"]) for each in notes]
    assert weights == sorted(weights)
