"""The form in which recipients are compared."""

import pytest

from shared.mail.recipients import comparable

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
