"""Parts of ingest and validate in processes of their own, and the change of form."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.chart.rendering import REQUIRED, Resource, merged, notes, render
from tests.support.chart.resources import by_component, environment, of_kind

DOOR: Final = {"enabled": True, "hostName": "in.example.com", "certificateSecret": "tls"}
DOORS: Final[dict[str, Any]] = {
    "frontDoor": DOOR,
    "bounceDoor": DOOR,
    "returnPath": {"secret": "keys"},
}
APART: Final[dict[str, Any]] = {
    "components": {name: {"enabled": True} for name in ("front", "bounce", "responses")}
}
COUNTS: Final = "SLUICE_VALIDATE__COUNTS_BOUNCES"


def container(resources: list[Resource], component: str) -> dict[str, Any]:
    pod = by_component(resources, "StatefulSet")[component]["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return dict(found)


def variables(resources: list[Resource], component: str) -> set[str]:
    return set(environment(container(resources, component)))


def mounts(resources: list[Resource], component: str) -> set[str]:
    return {each["mountPath"] for each in container(resources, component)["volumeMounts"]}


def test_the_doors_are_in_ingest_unless_they_run_apart() -> None:
    joined, apart = render(DOORS), render(merged(DOORS, APART))
    listens = {"SLUICE_INGEST__SMTP_LISTEN", "SLUICE_INGEST__BOUNCE_LISTEN"}
    assert listens <= variables(joined, "ingest")
    assert not listens & variables(apart, "ingest")
    assert "SLUICE_INGEST__READS_INTAKES" not in variables(apart, "ingest")
    for component, own in (("front", "SMTP"), ("bounce", "BOUNCE")):
        environ = environment(container(apart, component))
        assert listens & set(environ) == {f"SLUICE_INGEST__{own}_LISTEN"}
        assert environ["SLUICE_INGEST__READS_INTAKES"] == "false"


def test_a_part_has_the_secrets_of_its_own_work_only() -> None:
    values = merged(merged(DOORS, APART), {"redis": {"secret": "redis"}})
    resources = render(values)
    assert mounts(resources, "ingest") == {"/tmp", "/etc/sluice/redis", "/etc/sluice/return-path"}
    assert mounts(resources, "front") == {"/tmp", "/etc/sluice/redis", "/etc/sluice/front-door"}
    bounce = {"/tmp", "/etc/sluice/bounce-door", "/etc/sluice/return-path"}
    assert mounts(resources, "bounce") == bounce
    assert "SLUICE_REDIS__URL" not in variables(resources, "bounce")


def selector_of(each: Resource) -> dict[str, str]:
    spec = each["spec"]
    found: dict[str, str] = spec.get("podSelector", {}).get("matchLabels") or spec["selector"]
    return found


@pytest.mark.parametrize("door", ["front-door", "bounce-door"])
def test_the_service_and_the_policy_of_a_door_select_the_pods_of_both_forms(door: str) -> None:
    forms = [render(DOORS), render(merged(DOORS, APART))]
    for kind in ("Service", "NetworkPolicy"):
        wanted = [
            selector_of(each)
            for resources in forms
            for each in of_kind(resources, kind)
            if each["metadata"]["name"] == f"mail-sluice-{door}"
        ]
        assert len(wanted) == 2
        assert wanted[0] == wanted[1], "during the upgrade the old pods would not be selected"
        for resources, owner in zip(forms, ("ingest", door.removesuffix("-door")), strict=True):
            selected = [
                component
                for component, workload in by_component(resources, "StatefulSet").items()
                if wanted[0].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert selected == [owner]


@pytest.mark.parametrize(
    ("components", "text"),
    [
        ({}, None),
        ({"responses": {"enabled": True}}, "false"),
        # Both may count: one process of all does.
        (
            {
                "responses": {"enabled": True},
                "validate": {"settings": {"validate": {"counts_bounces": True}}},
            },
            "true",
        ),
    ],
)
def test_validate_counts_bounces_only_while_no_other_component_does(
    components: dict[str, Any], text: str | None
) -> None:
    environ = environment(container(render({"components": components}), "validate"))
    assert environ.get(COUNTS) == text


def test_returned_mail_scales_the_component_that_reads_it() -> None:
    keda = {"autoscaling": {"mode": "keda"}}
    components = {"validate": keda, "responses": {"enabled": True, **keda}}
    scaled = by_component(render({"components": components}), "ScaledObject")
    topics = {
        name: [each["metadata"].get("topic") for each in found["spec"]["triggers"]]
        for name, found in scaled.items()
    }
    assert topics == {"validate": [None, "mail.received"], "responses": [None, "mail.returned"]}


def test_nobody_who_counts_is_a_warning() -> None:
    off = {"settings": {"validate": {"counts_bounces": False}}}
    assert "returned mail waits" in notes(merged(REQUIRED, off))
    both = merged(off, {"components": {"responses": {"enabled": True}}})
    assert "returned mail waits" not in notes(merged(REQUIRED, both))


def test_a_bounce_door_that_can_verify_nothing_is_a_warning() -> None:
    without = {"bounceDoor": DOOR}
    assert "bounces to return paths are refused" in notes(merged(REQUIRED, without))
    with_keys = merged(without, {"returnPath": {"secret": "keys"}})
    assert "bounces to return paths are refused" not in notes(merged(REQUIRED, with_keys))


def test_parts_have_probes_a_budget_and_a_number_of_their_own() -> None:
    resources = render(merged(merged(DOORS, APART), {"components": {"front": {"replicas": 5}}}))
    assert by_component(resources, "StatefulSet")["front"]["spec"]["replicas"] == 5
    budgets = by_component(resources, "PodDisruptionBudget")
    for component in ("front", "bounce"):
        assert container(resources, component)["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert component in budgets
