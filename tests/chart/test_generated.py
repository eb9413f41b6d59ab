"""The generated files of the chart are what the code and values.yaml say."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from services.validate.settings import DEFAULT_LANES
from shared.topics import names
from tools.chart import CHART, pages, readme
from tools.chart.components import COMPONENTS, model_of
from tools.chart.settings_schema import OWNED

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES_TEXT = (CHART / "values.yaml").read_text()
VALUES: dict[str, Any] = yaml.safe_load(VALUES_TEXT)


def test_the_generated_files_are_up_to_date() -> None:
    for page, text in pages().items():
        assert page.read_text("utf-8") == text, "regenerate it: python -m tools.docs chart"


def test_the_schema_is_a_schema_of_draft_7() -> None:
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


def objects(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    if isinstance(node, dict):
        if "properties" in node:
            found.append((path, node))
        for key, value in node.items():
            found += objects(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            found += objects(value, f"{path}.{index}")
    return found


def test_no_object_of_the_schema_takes_unknown_keys() -> None:
    found = objects(SCHEMA)
    assert len(found) > 30
    assert [path for path, node in found if node.get("additionalProperties") is not False] == []


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    found: Any = SCHEMA
    for step in node["$ref"].split("/")[1:] if "$ref" in node else ():
        found = found[step]
    return dict(found) if "$ref" in node else node


def leaves(node: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    properties = resolve(node).get("properties")
    if properties is None or "settings" in path:
        return {path}
    return set[tuple[str, ...]]().union(
        *(leaves(value, (*path, key)) for key, value in properties.items())
    )


def test_every_value_of_the_schema_has_a_default() -> None:
    missing = []
    for path in leaves(SCHEMA):
        place: Any = VALUES
        # A component has only what differs from the defaults; Helm itself adds `global`, and
        # `enabled` is for the condition of a chart that depends on this one.
        if path[0] in ("components", "global", "enabled"):
            continue
        for step in path:
            place = place.get(step, ...) if isinstance(place, dict) else ...
        if place is ... and path[-1] not in ("settings",):
            missing.append(".".join(path))
    assert missing == []


def test_every_value_is_described() -> None:
    found = readme.rows(VALUES_TEXT)
    assert len(found) > 100
    bare = [row.path for row in found if not row.description]
    assert bare == []


def test_the_lanes_of_the_chart_are_those_of_the_service() -> None:
    assert VALUES["lanes"] is None
    shipped = json.loads((CHART / "files" / "topics.json").read_text())["lanes"]
    assert shipped == {lane: list(domains) for lane, domains in DEFAULT_LANES.items()}


def test_the_planned_topics_are_those_of_the_code() -> None:
    planned = json.loads((CHART / "files" / "topics.json").read_text())
    for partitions in (3, 24):
        expected = {plan.name: plan for plan in names.plans(("gmail",), partitions)}
        lane = {**planned["lane"], "name": f"{planned['lane']['prefix']}gmail"}
        found = [*planned["topics"], lane]
        assert {topic["name"] for topic in found} == expected.keys()
        for topic in found:
            plan = expected[topic["name"]]
            assert topic["configs"] == plan.configs
            assert topic.get("partitions", partitions) == plan.partitions


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_has_values_of_its_own(name: str) -> None:
    assert name in VALUES["components"]
    assert model_of(COMPONENTS[name].service)


def test_a_setting_of_the_chart_cannot_be_given_twice() -> None:
    sections = SCHEMA["definitions"]["settings"]["properties"]
    given = {f"{name}.{key}" for name, each in sections.items() for key in each["properties"]}
    assert len(given) > 50
    assert given & OWNED == set()
