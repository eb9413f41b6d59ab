"""Every value set renders alike with both versions of Helm, and Kubernetes would take it."""

from __future__ import annotations

import pytest

from tests.support.chart.crd_schemas import CRD_SCHEMAS
from tests.support.chart.kubernetes_schemas import faults, newest_versions
from tests.support.chart.rendering import HELMS, VALUE_SETS, Resource, render_set


def ordered(resources: list[Resource]) -> list[Resource]:
    return sorted(resources, key=lambda each: (each["kind"], each["metadata"]["name"]))


@pytest.mark.parametrize("name", VALUE_SETS)
def test_helm_3_and_helm_4_render_the_same(name: str) -> None:
    first, second = (ordered(render_set(name, helm)) for helm in HELMS.values())
    assert first
    assert first == second


@pytest.mark.parametrize("version", newest_versions())
@pytest.mark.parametrize("name", VALUE_SETS)
def test_kubernetes_takes_every_resource(name: str, version: str) -> None:
    found = [fault for each in render_set(name) for fault in faults(each, version)]
    assert not found, "\n".join(found)


def test_every_custom_resource_is_rendered_by_some_value_set() -> None:
    kinds = {(each["apiVersion"], each["kind"]) for name in VALUE_SETS for each in render_set(name)}
    assert CRD_SCHEMAS.keys() <= kinds


def test_a_field_that_does_not_exist_is_a_fault() -> None:
    resource = next(each for each in render_set("small") if each["kind"] == "StatefulSet")
    wrong = {**resource, "spec": {**resource["spec"], "replica": 1}}
    assert any("replica" in fault for fault in faults(wrong, newest_versions()[-1]))


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_two_resources_have_one_name(name: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in render_set(name)]
    assert len(names) == len(set(names))
