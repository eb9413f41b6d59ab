"""The form of addresses for comparison."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.mail.address import ParsedAddress, parse_path
from shared.mail.comparison import comparable

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
