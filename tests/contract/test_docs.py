"""The generated reference pages agree with the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import services
import shared
from shared.runtime.telemetry import Metric
from shared.stream import outputs
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.topics import names
from shared.topics.event_records import MEANINGS
from shared.topics.records import EventType, MailEvent
from tests.contract.golden import EVENT, TALLY
from tools import asyncapi
from tools import references as pages
from tools.docs import CONTRACT_PAGE, SETTINGS_PAGE, settings_page


def test_docs_settings_is_what_the_settings_say() -> None:
    assert SETTINGS_PAGE.read_text("utf-8") == settings_page(), (
        "regenerate it: python -m tools.docs settings"
    )


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (pages.METRICS_PAGE, pages.metrics_page),
        (pages.REPLIES_PAGE, pages.replies_page),
        (pages.DECISIONS_PAGE, pages.decisions_page),
    ],
    ids=["metrics", "replies", "decisions"],
)
def test_the_reference_pages_are_what_the_code_and_the_files_say(
    page: Path, text: Callable[[], str]
) -> None:
    assert page.read_text("utf-8") == text(), "regenerate it: python -m tools.docs references"


def test_every_metric_that_a_module_declares_is_on_the_page() -> None:
    declared = {
        value.name
        for root in (services, shared)
        for value in pages.constants_below(root)
        if isinstance(value, Metric)
    }
    page = pages.metrics_page()
    assert len(declared) > 10
    assert {name for name in declared if f"`{name}" not in page} == set()


def test_every_field_of_an_event_has_its_meaning_in_the_contract_and_on_the_page() -> None:
    fields = {field.name for field in msgspec.structs.fields(MailEvent)}
    assert set(MEANINGS) == fields
    page = (CONTRACT_PAGE.parents[1] / "events.md").read_text("utf-8")
    assert [name for name, text in MEANINGS.items() if f"| `{name}` | {text} |" not in page] == []


def test_every_setting_says_what_it_does() -> None:
    lines = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert lines
    assert [line for line in lines if line.endswith("|  |")] == []


def test_the_contract_is_what_the_topics_and_their_records_say() -> None:
    assert CONTRACT_PAGE.read_text("utf-8") == asyncapi.page(), (
        "regenerate it: python -m tools.docs contracts"
    )


def references(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        own = {tree["$ref"]} if "$ref" in tree else set()
        return own.union(*map(references, tree.values()))
    return set().union(*map(references, tree)) if isinstance(tree, list) else set()


def test_every_reference_of_the_contract_leads_somewhere() -> None:
    contract = yaml.safe_load(asyncapi.page())
    assert contract["asyncapi"] == "3.0.0"
    found = references(contract)
    assert len(found) > 10
    for reference in found:
        place = contract
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


UNDECODABLE = UndecodableRecord(names.EVENTS, 0, 2, -1, b"x", 1, "why", 1, "0" * 64)


def test_what_is_written_has_the_headers_that_the_contract_tells() -> None:
    messages = asyncapi.document()["components"]["messages"]
    written = {
        "event": outputs.event("deliver", EventType.DELIVERED, "m", EVENT),
        "tally": next(
            outputs.tallies("validate", "t", TALLY.at_ms, {("shop", "spring", ""): ["m"]})
        ),
        "refused": outputs.refused_record(UNDECODABLE, "unreadable", "why", "m"),
    }
    for name, output in written.items():
        headers = messages[name]["headers"]
        assert {header for header, _ in output.headers} == headers["properties"].keys(), name
        for header, value in output.headers:
            told = headers["properties"][header]
            if "const" in told:
                assert value.decode() == told["const"]
            if "enum" in told:
                assert value.decode() in told["enum"]


def test_every_field_of_an_event_is_in_the_contract() -> None:
    schemas = asyncapi.document()["components"]["schemas"]
    assert schemas["MailEvent"]["properties"].keys() == set(EVENT.__struct_fields__)
    assert schemas["Violation"]["properties"].keys() == set(EVENT.rules[0].__struct_fields__)
    assert "prefixItems" not in asyncapi.page()


def test_the_page_of_topics_has_one_row_for_each() -> None:
    page, _, _ = Path("docs/topics.md").read_text("utf-8").partition("\n## Configuration\n")
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 10
    assert sorted(set(rows)) == sorted(rows)
