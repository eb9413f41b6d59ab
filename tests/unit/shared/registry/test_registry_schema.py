"""The schema of clients.yaml: it accepts what the parser accepts and refuses what it can."""

from __future__ import annotations

import re
from typing import Any, Final

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from cli.clients.command import main
from cli.stack.paths import ROOT
from shared.registry.client import Client, Code
from shared.registry.file.clients_file import parse_clients_yaml
from shared.registry.file.declarations import CLIENT, CODE
from shared.registry.file.schema import document, page
from shared.registry.file.yaml_tree import RegistryError
from tools.docs import CLIENTS_PAGE

EXAMPLE: Final = ROOT / "docs" / "examples" / "clients.yaml"
HEAD: Final = "clients:\n  - "
GOOD: Final = {
    "name": "acme",
    "sending_domain": "news.acme.example",
    "forwarding_address": "returns@acme.example",
    "mailing_id": "M-1",
}
VALIDATOR: Final = jsonschema.Draft7Validator(document())


class Editor(yaml.BaseLoader):
    """Reads YAML as editors do: the types of the core schema of YAML 1.2 (10.3.2)."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        text = super().construct_scalar(node)
        if node.style:
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text.lower() == "true"
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
            return float(text)
        return text


def construct(loader: Editor, node: Any) -> Any:
    return loader.construct_scalar(node)


Editor.add_constructor("tag:yaml.org,2002:str", construct)


def seen_by_an_editor(text: str) -> Any:
    """The file's tree; an editor treats all keys of a table as text."""
    return as_json(yaml.load(text, Editor))


def as_json(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): as_json(value) for key, value in tree.items()}
    return [as_json(item) for item in tree] if isinstance(tree, list) else tree


def a_file(*lines: str, without: str = "") -> str:
    given = {line.partition(":")[0] for line in lines}
    kept = [f"{key}: {v}" for key, v in GOOD.items() if key not in {without, *given}]
    return HEAD + "\n    ".join([*kept, *lines]) + "\n"


def is_parsed(text: str) -> bool:
    try:
        parse_clients_yaml(text)
    except RegistryError:
        return False
    return True


def test_the_schema_is_itself_valid_and_the_file_of_the_docs_is_what_is_generated() -> None:
    jsonschema.Draft7Validator.check_schema(document())
    assert CLIENTS_PAGE.read_text("utf-8") == page(), (
        "regenerate it: python -m tools.docs contracts"
    )


def test_the_command_prints_the_schema() -> None:
    told = CliRunner().invoke(main, ["schema"])
    assert (told.exit_code, told.stdout) == (0, page())


def test_every_field_of_a_client_is_declared_with_its_words() -> None:
    declared = {field.key for field in CLIENT} | {"codes", "credentials", "removal"}
    assert declared == set(Client.__struct_fields__)
    assert {field.key for field in CODE} == set(Code.__struct_fields__)
    assert all(field.description.endswith(".") or "(R8)" in field.description for field in CODE)
    assert all(field.description.endswith(".") for field in CLIENT)


def test_every_field_stands_in_the_page_about_clients() -> None:
    told = (ROOT / "docs" / "clients.md").read_text("utf-8")
    missing = [field.key for field in (*CLIENT, *CODE) if f"`{field.key}`" not in told]
    assert missing == []


def test_the_example_of_the_docs_is_taken_by_both_and_leaves_no_field_out() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert "yaml-language-server: $schema=" in text.splitlines()[0]
    assert parse_clients_yaml(text)
    tree = seen_by_an_editor(text)
    assert list(VALIDATOR.iter_errors(tree)) == []
    used = {key for client in tree["clients"] for key in client}
    assert used == {field.key for field in CLIENT} | {"codes"}


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("name: 123",),
        ("name: true",),
        ("name: no",),
        ("sending_domain: NEWS.Acme.example.",),
        ("sending_domain: bücher.example",),
        ("sending_domain: 4.news.example",),
        ("sending_domain: 'news。acme.example'",),
        ("forwarding_address: jörg+returns@bücher.example",),
        ('forwarding_address: "o\'neil/x=1@acme.example."',),
        ("mailing_id: 0123",),
        ("mailing_id: 1e3",),
        ("mailing_id: 1.5",),
        ("mailing_id: true",),
        ("mailing_id: 2026-11-24",),
        ("mail_class: transactional", "lane: gmail"),
        ("mail_class:", "lane: ~", "ips:", "block_list: null", "codes:"),
        ("lane: ''",),
        ("lane: 7",),
        ("hard_limit: 1", "soft_limit: 1000", "max_age_s: 60"),
        ("hard_limit: '3'", "max_age_s: '2592000'"),
        ("max_connections: 0", "max_messages_per_minute: 1000000", "own_events: true"),
        ("max_connections: 10000", "own_events: 'False'"),
        ("own_events: FALSE",),
        ("returns: [bounces, refused, suppressed]",),
        ("returns: []",),
        ("ips: [192.0.2.1, 192.0.2.0/24, 192.0.2.0/255.255.255.0]",),
        ("ips: ['2001:DB8::/32', '::1', '::ffff:192.0.2.1']",),
        ("ips: []", "block_list: []", "codes: {}"),
        ("block_list: ['*@Competitor.example', 'info?@*', 5, true, '*']",),
        ("codes: {on: {mailing_id: 1e3, sub_client: 2024-01-01, active: True}}",),
        ("codes: {'a/b:c+d': {mailing_id: m, sub_client: 7, active: }}",),
        ("codes: {123: {mailing_id: m, sub_client: s}}",),
    ],
)
def test_what_the_parser_takes_an_editor_does_not_mark(lines: tuple[str, ...]) -> None:
    text = a_file(*lines)
    assert is_parsed(text)
    assert [error.message for error in VALIDATOR.iter_errors(seen_by_an_editor(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "clients: 5",
        "clients:",
        "clients: []\nclient: []",
        "clients: [x]",
        *(a_file(without=key) for key in GOOD),
        *(
            a_file(line)
            for line in (
                "name: Acme",
                "name: -acme",
                "name: 1.5",
                "name:",
                f"name: {'a' * 64}",
                "sending_domain: localhost",
                "sending_domain: 192.0.2.1",
                "sending_domain: a..example",
                "sending_domain: a_b.example",
                "sending_domain: [a.example]",
                "sending_domain: https://news.example",
                "forwarding_address: returns",
                "forwarding_address: a@b@c.example",
                "forwarding_address: R <r@a.example>",
                "forwarding_address: r@a.example, s@a.example",
                "forwarding_address: .r@a.example",
                f"forwarding_address: {'r' * 65}@a.example",
                "mailing_id: M 1",
                "mailing_id: ''",
                "mailing_id: -1",
                "mail_class: spam",
                "lane: Gmail!",
                "hard_limit: 0",
                "hard_limit: 1001",
                "hard_limit: many",
                "soft_limit: 5.5",
                "max_age_s: 10",
                "max_connections: -1",
                "max_connections: 10001",
                "max_messages_per_minute: 1000001",
                "max_messages_per_minute: [1]",
                "own_events: 'yes'",
                "own_events: 1",
                "returns: [hard]",
                "ips: 192.0.2.1",
                "ips: [acme.example]",
                "ips: [0.0.0.0/0]",
                "ips: [10]",
                "block_list: ['a b@c']",
                "block_list: ['a@b@c']",
                "block_list: ['']",
                "codes: [spring]",
                "codes: {a b: {mailing_id: m, sub_client: s}}",
                "codes: {a: {mailing_id: m}}",
                "codes: {a: m}",
                "codes: {a: }",
                "codes: {a: {mailing_id: m, sub_client: s, activ: true}}",
                "codes: {a: {mailing_id: m, sub_client: s, active: 'yes'}}",
                "sending_domian: x",
                "credentials: []",
            )
        ),
    ],
)
def test_what_the_parser_refuses_an_editor_marks(text: str) -> None:
    assert not is_parsed(text)
    assert not VALIDATOR.is_valid(seen_by_an_editor(text))
