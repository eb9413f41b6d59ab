"""One address: accepted and refused forms, the normal form, and the form for comparison."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.mail import address
from shared.mail.address import ParsedAddress, comparable, parse_path, parse_single
from shared.mail.address_faults import AddressFault, Fault
from tests.support.addresses import NOT_TAKEN, PIECES, TAKEN

FORMS = {
    "anna@example.com": "anna@example.com",
    "Anna.Lee@Example.COM": "anna.lee@example.com",
    '"anna"@example.com': "anna@example.com",
    "anna@Bücher.example": "anna@xn--bcher-kva.example",
    "ANNA+News@example.com": "anna+news@example.com",
    "ÄNNA@example.com": "änna@example.com",
    "anna": "",
    "": "",
    "a@example.com, b@example.com": "",
    "<anna@example.com>": "",
}


@pytest.mark.parametrize(("value", "expected"), TAKEN)
def test_one_valid_address_is_read_in_its_normal_form(value: str, expected: str | None) -> None:
    parsed = parse_single(value)
    assert isinstance(parsed, ParsedAddress)
    assert parsed.address == (value if expected is None else expected)
    assert parsed.address == f"{parsed.local}@{parsed.domain}"
    assert parse_single(value.encode()) == parsed


@pytest.mark.parametrize(("value", "fault"), NOT_TAKEN)
def test_all_else_is_refused_with_its_reason(value: str | bytes, fault: Fault) -> None:
    parsed = parse_single(value)
    assert parsed == AddressFault(fault)
    assert isinstance(parsed, AddressFault)
    assert parsed.reason == str(fault)


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        ("max@kunde.example", True),
        ('"max muster"@kunde.example', True),
        ("max@KUNDE.example", True),
        ("<max@kunde.example>", False),
        ("Max <max@kunde.example>", False),
        (" max@kunde.example", False),
        ("max@kunde.example ", False),
        ("max@kunde.example (Max)", False),
        ("<>", False),
        ("", False),
        ("a@" + "b" * 1_000, False),
    ],
)
def test_an_envelope_address_stands_bare(path: str, is_taken: bool) -> None:
    assert isinstance(parse_path(path), ParsedAddress) is is_taken


SYNTAX = st.text(st.sampled_from(list('ab.@<>()[]",:;\\ \t=?-_1ü\u200b\0\r\n')), max_size=40)


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.binary(max_size=80), SYNTAX.map(str.encode), PIECES.map(str.encode)))
@example(b"Max =?utf-8?Q?=0A?= <max@kunde.example>")
def test_the_fast_path_gives_what_the_tokens_give(value: bytes) -> None:
    fast = address._parse_plain(value)
    slow = address._parse_tokens(value)
    assert parse_single(value) == slow
    assert fast is None or fast == slow


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=80), SYNTAX, PIECES))
def test_a_normal_form_is_its_own_normal_form(value: str) -> None:
    parsed = parse_single(value)
    if isinstance(parsed, ParsedAddress):
        assert parse_single(parsed.address) == parsed
        assert parse_single(f"Name <{parsed.address}> (c)") == parsed
        assert parse_path(parsed.address) == parsed
        assert isinstance(parse_single(f"{value}, {value}"), AddressFault)


@pytest.mark.parametrize(("given", "wanted"), FORMS.items())
def test_an_address_has_one_comparison_form(given: str, wanted: str) -> None:
    assert comparable(given) == wanted


@pytest.mark.parametrize("form", sorted(filter(None, FORMS.values())))
def test_the_comparison_form_is_its_own(form: str) -> None:
    assert comparable(form) == form


LOCALS = st.one_of(
    st.text(st.sampled_from("abAB09._+-=? \n"), max_size=8),
    st.sampled_from(["a" * 64, "a" * 65]),
)
DOMAINS = st.one_of(
    st.text(st.sampled_from("abA1.-@\nü"), max_size=8),
    st.sampled_from(["x.example", "1.2", ".".join(["b" * 63] * 3) + ".example", "c" * 64 + ".de"]),
)


@settings(deadline=None, max_examples=400)
@given(st.builds("{}@{}".format, LOCALS, DOMAINS))
@example("a@")
@example("@x.example")
def test_the_fast_comparison_form_is_that_of_the_parsed_address(value: str) -> None:
    parsed = parse_path(value)
    if isinstance(parsed, ParsedAddress):
        assert comparable(value) == f"{parsed.local.lower()}@{parsed.domain}"
    else:
        assert comparable(value) == ""
