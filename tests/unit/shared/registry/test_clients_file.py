"""clients.yaml: valid contents, and every kind of error."""

from __future__ import annotations

import pytest
import yaml
from msgspec.structs import replace

from shared.registry.client import Code
from shared.registry.file.clients_file import parse_clients_yaml
from shared.registry.file.yaml_tree import RegistryError
from shared.topics.records import MailClass
from tests.support.clients_files import ACME, GOOD, faults_in, parse_one


def test_a_client_needs_four_fields_and_has_defaults_for_the_rest() -> None:
    assert parse_one() == ACME
    assert ACME.hard_limit == 3
    assert ACME.soft_limit == 5
    assert ACME.mail_class is MailClass.MARKETING


def test_every_field_is_read() -> None:
    client = parse_one(
        mail_class="transactional",
        lane="gmail",
        ips=["192.0.2.1", "2001:DB8::/32"],
        block_list=["*@Competitor.example", "*@*.Bücher.example", "info?@*", r"Who\?@a.example"],
        hard_limit=2,
        soft_limit="9",
        max_age_s=3600,
        max_connections=4,
        max_messages_per_minute=600,
        own_events=True,
        codes={
            "spring": {"mailing_id": "M-7", "sub_client": "shop-a"},
            "old": {"mailing_id": "M-8", "sub_client": "shop-b", "active": False},
        },
    )
    assert client == replace(
        ACME,
        mail_class=MailClass.TRANSACTIONAL,
        lane="gmail",
        ips=("192.0.2.1", "2001:db8::/32"),
        block_list=(
            "*@competitor.example",
            "*@*.xn--bcher-kva.example",
            "info?@*",
            r"who\?@a.example",
        ),
        hard_limit=2,
        soft_limit=9,
        max_age_s=3600,
        max_connections=4,
        max_messages_per_minute=600,
        own_events=True,
        codes={
            "spring": Code("M-7", "shop-a"),
            "old": Code("M-8", "shop-b", active=False),
        },
        credentials=(),
    )
    assert client.active_codes == {"spring"}
    assert client.code("spring") == Code("M-7", "shop-a")
    assert client.code("") == Code("M-1")
    assert client.code("old") == client.code("unknown") == Code("M-1")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("clients:\n\t- name: acme\n", "line 2, column 1"),
        ("clients:\n  - name: acme\n  \t  sending_domain: x.example\n", "line 3, column 3"),
        ("\tclients: []\n", "line 1, column 1"),
    ],
)
def test_a_tab_is_told_with_its_place_and_the_file_given(text: str, place: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_clients_yaml(text, "shop/our-clients.yaml")
    (fault,) = caught.value.faults
    assert str(fault) == (
        f"shop/our-clients.yaml: found a tab on {place}, expected YAML indented with spaces"
    )


def test_what_is_no_yaml_or_no_table_is_told_with_the_file_given() -> None:
    for text in ("clients: [\n", "- a\n", "clients: &a [*a]\n"):
        with pytest.raises(RegistryError) as caught:
            parse_clients_yaml(text, "shop/our-clients.yaml")
        assert str(caught.value).startswith("shop/our-clients.yaml: ")
        assert "<unicode string>" not in str(caught.value)
    with pytest.raises(
        RegistryError, match=r"\Aclient: unknown key; known: clients; did you mean clients\?"
    ):
        parse_clients_yaml("client: []\nclients: []\n", "shop/our-clients.yaml")


def test_yaml_does_not_guess_types() -> None:
    text = """
clients:
  - name: no
    sending_domain: a.example
    forwarding_address: x@b.example
    mailing_id: 0123
    lane: ~
    codes:
      on: {mailing_id: 1e3, sub_client: 2024-01-01}
"""
    (client,) = parse_clients_yaml(text)
    assert (client.name, client.mailing_id, client.lane) == ("no", "0123", "")
    assert client.codes == {"on": Code("1e3", "2024-01-01")}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("News.ACME.example", "news.acme.example"),
        ("news.acme.example.", "news.acme.example"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("b\u0075\u0308cher.example", "xn--bcher-kva.example"),  # decomposed
    ],
)
def test_domains_are_kept_as_lower_case_a_labels(given: str, kept: str) -> None:
    assert parse_one(sending_domain=given).sending_domain == kept


@pytest.mark.parametrize(
    ("field", "value", "path", "expected"),
    [
        ("name", "Acme", "name", "a-z, 0-9 and inner hyphens"),
        ("name", "-acme", "name", "inner hyphens"),
        ("name", "a" * 64, "name", "1 to 63"),
        ("name", None, "name", "required, but it has no value"),
        ("sending_domain", "localhost", "sending_domain", "fully qualified"),
        ("sending_domain", "192.0.2.1", "sending_domain", "fully qualified"),
        ("sending_domain", "a..example", "sending_domain", "a domain such as"),
        ("sending_domain", "a_b.example", "sending_domain", "a domain such as"),
        ("sending_domain", "x" * 64 + ".example", "sending_domain", "a domain such as"),
        ("sending_domain", ["a.example"], "sending_domain", "one value"),
        ("forwarding_address", "returns", "forwarding_address", "one bare address"),
        ("forwarding_address", "a@b@c.example", "forwarding_address", "one bare address"),
        ("forwarding_address", "R <r@a.example>", "forwarding_address", "one bare address"),
        ("forwarding_address", "r@a.example, s@a.example", "forwarding_address", "bare address"),
        ("forwarding_address", ".r@a.example", "forwarding_address", "one bare address"),
        ("forwarding_address", "r" * 65 + "@a.example", "forwarding_address", "64 octets"),
        ("forwarding_address", None, "forwarding_address", "required, but it has no value"),
        # R: its host must not be the sending domain or a part of it.
        ("forwarding_address", "r@news.acme.example", "forwarding_address", "neither the sending"),
        ("forwarding_address", "r@NEWS.acme.EXAMPLE", "forwarding_address", "neither the sending"),
        ("forwarding_address", "r@x.news.acme.example", "forwarding_address", "nor part of it"),
        ("mailing_id", "M 1", "mailing_id", "1 to 64 of"),
        ("mailing_id", "", "mailing_id", "1 to 64 of"),
        ("mailing_id", "x" * 65, "mailing_id", "1 to 64 of"),
        ("mail_class", "spam", "mail_class", "one of marketing, transactional"),
        ("lane", "Gmail!", "lane", "name of a lane"),
        ("hard_limit", "0", "hard_limit", "from 1 to 1000"),
        ("hard_limit", "-1", "hard_limit", "from 1 to 1000"),
        ("soft_limit", "5.5", "soft_limit", "from 1 to 1000"),
        ("soft_limit", "٣", "soft_limit", "from 1 to 1000"),
        ("max_age_s", "10", "max_age_s", "from 60 to"),
        ("max_connections", "10001", "max_connections", "from 0 to 10000"),
        ("max_messages_per_minute", "-1", "max_messages_per_minute", "from 0 to 1000000"),
        ("own_events", "on", "own_events", "true or false"),
        ("returns", ["bounces", "hard"], "returns[1]", "one of bounces, refused, suppressed"),
        ("ips", "192.0.2.1", "ips", "a list"),
        ("ips", ["192.0.2.1", "192.0.2.999"], "ips[1]", "an IP address or a network"),
        ("ips", ["192.0.2.7/24"], "ips[0]", "did you mean 192.0.2.0/24?"),
        ("ips", ["0.0.0.0/0"], "ips[0]", "smaller than the whole Internet"),
        ("block_list", ["a b@c"], "block_list[0]", "* matches any text"),
        ("block_list", [r"a\b@c"], "block_list[0]", "themselves"),
        ("block_list", ["*@b*ü.example"], "block_list[0]", "whole or in ASCII"),
        ("block_list", ["a@b@c"], "block_list[0]", "* matches any text"),
        ("block_list", [f"a{n}*" for n in range(101)], "block_list", "at most 100, not counting"),
        ("block_list", ["a" * 255], "block_list[0]", "* matches any text"),
        ("block_list", [f"{n:0250}@" for n in range(2_001)], "block_list", "at most 500000"),
        ("codes", ["spring"], "codes", "a table of at most"),
        ("codes", {"a b": {"mailing_id": "m", "sub_client": "s"}}, "codes.a b", "1 to 64 of"),
        (
            "codes",
            {"a": {"mailing_id": "m"}},
            "codes.a.sub_client",
            "required, but it has no value",
        ),
        ("codes", {"a": "m"}, "codes.a", "a table with the keys"),
        (
            "codes",
            {"a": {"mailing_id": "m", "sub_client": "s", "activ": True}},
            "codes.a.activ",
            "did you mean active?",
        ),
        (
            "codes",
            {"a": {"mailing_id": "m", "sub_client": "s", "active": "yes"}},
            "codes.a.active",
            "true or false",
        ),
        (
            "codes",
            {c: {"mailing_id": "m", "sub_client": "s"} for c in ("Spring", "spring")},
            "codes.spring",
            "by more than its case",
        ),
        ("sending_domian", "x", "sending_domian", "did you mean sending_domain?"),
    ],
)
def test_a_wrong_field_is_told_with_its_path(
    field: str, value: object, path: str, expected: str
) -> None:
    other = {**GOOD, "name": "other", "sending_domain": "other.example"}
    faults = faults_in(yaml.safe_dump({"clients": [other, {**GOOD, field: value}]}))
    assert list(faults) == [f"clients[1].{path}"]
    assert expected in faults[f"clients[1].{path}"]


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("", "clients.yaml", "a table with the keys clients"),
        ("- a\n", "clients.yaml", "a table with the keys clients"),
        ("clients: 5\n", "clients", "a list of clients"),
        ("client: []\nclients: []\n", "client", "did you mean clients?"),
        ("clients: [x]\n", "clients[0]", "a table with the keys name"),
        ("clients: [\n", "clients.yaml", "not valid YAML"),
        ("clients: []\n---\nclients: []\n", "clients.yaml", "not valid YAML"),
        ("clients: " + "[" * 20 + "]" * 20, "clients.yaml", "the file has more than 10 levels"),
        ("clients: &a [*a]\n", "clients.yaml", "the file has more than 10 levels"),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, path: str, expected: str) -> None:
    faults = faults_in(text)
    assert list(faults) == [path]
    assert expected in faults[path]


def test_a_short_file_that_unfolds_into_a_huge_one_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    assert "the file has more than 2000000 values" in faults_in("\n".join(lines))["clients.yaml"]


def test_a_key_given_twice_is_told_with_its_line() -> None:
    text = """
clients:
  - name: acme
    sending_domain: news.acme.example
    forwarding_address: returns@acme.example
    mailing_id: M-1
    codes:
      spring: {mailing_id: M-2, sub_client: a}
      spring: {mailing_id: M-3, sub_client: b}
"""
    faults = faults_in(text)
    assert list(faults) == ["clients[0].codes.spring"]
    assert "line 9" in faults["clients[0].codes.spring"]


def test_names_and_sending_domains_belong_to_one_client() -> None:
    twin = {**GOOD, "sending_domain": "NEWS.acme.example"}
    faults = faults_in(yaml.safe_dump({"clients": [GOOD, twin]}))
    assert sorted(faults) == ["clients[1].name", "clients[1].sending_domain"]
    assert "already used by clients[0]" in faults["clients[1].name"]


def test_all_faults_are_told_at_once() -> None:
    one = {**GOOD, "mailing_id": "a b", "ips": ["x", "y"]}
    two = {"name": "Two", "codes": {"c": {}}}
    assert sorted(faults_in(yaml.safe_dump({"clients": [one, two]}))) == [
        "clients[0].ips[0]",
        "clients[0].ips[1]",
        "clients[0].mailing_id",
        "clients[1].codes.c.mailing_id",
        "clients[1].codes.c.sub_client",
        "clients[1].forwarding_address",
        "clients[1].mailing_id",
        "clients[1].name",
        "clients[1].sending_domain",
    ]
