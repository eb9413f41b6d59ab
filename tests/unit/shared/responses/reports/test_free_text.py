"""Recipients of free-text reports, and addresses in running text."""

from __future__ import annotations

import pytest

from shared.responses.reports.addresses import find_addresses, is_public, normal_form
from shared.responses.reports.free_text import around, read_unknown_layout, reasons_in

ANNA = "anna@shop.example"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("write to anna@shop.example.", [ANNA]),
        ("'anna@shop.example' failed", [ANNA]),
        ("<Anna@SHOP.Example>: no", ["Anna@shop.example"]),
        ("o'brien@shop.example is unknown", ["o'brien@shop.example"]),
        ("[SMTP:anna@shop.example]", [ANNA]),
        ("mailto:anna@shop.example?subject=x", [ANNA]),
        ("Ånna@größe.example", ["Ånna@xn--gre-6ka8i.example"]),
        ('"a b"@shop.example', ['"a b"@shop.example']),
        ("a@b@c", ["a@b"]),
        ("no address @ all, a@ or @b", []),
        ("a\x1b[2J@shop.example", ["2J@shop.example"]),
    ],
)
def test_addresses_are_found_in_running_text(text: str, addresses: list[str]) -> None:
    assert find_addresses(text) == addresses


@pytest.mark.parametrize(
    ("address", "public"),
    [(ANNA, True), ("anna@mailstore", False), ("anna@shop.local", False), ("anna", False)],
)
def test_a_name_of_a_private_host_is_not_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_an_address_without_a_normal_form_keeps_its_text() -> None:
    assert normal_form("a..b@SHOP.example,") == "a..b@shop.example"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("It failed:\n\n  anna@shop.example\n\nAsk help@mx.example.", [ANNA]),
        ("* <anna@shop.example>: unknown\n* <ben@shop.example>: full", [ANNA, "ben@shop.example"]),
        ("We could not deliver it to <anna@shop.example> today.", [ANNA]),
        ("Empfänger: anna@shop.example\nKonto unbekannt", [ANNA]),
        ("550 the box anna@shop.example is gone; contact ben@mx.example", [ANNA]),
        # Our own address, and roles of the reporting host.
        ("news@sender.example\npostmaster@mx.example\nanna@shop.example", [ANNA]),
        ("Please write to support@mx.example.", []),
        ("From: ben@shop.example", []),
        ("", []),
    ],
)
def test_the_recipients_of_an_unknown_layout_are_found(text: str, addresses: list[str]) -> None:
    found = read_unknown_layout(text, {"news@sender.example"}, False)
    assert [one.address for one in found] == addresses


def test_each_recipient_has_the_text_up_to_the_next_one() -> None:
    found = read_unknown_layout("<anna@shop.example>: full\n<ben@shop.example>: gone\n", (), False)
    assert ["full" in one.around for one in found] == [True, False]
    assert ["gone" in one.around for one in found] == [False, True]


def test_the_text_around_an_address_ends_at_the_notice_of_a_gateway() -> None:
    text = "To Anna@shop.example: gone\n______________________\nscanned for viruses\n"
    assert around(text, ANNA) == "Anna@shop.example: gone"
    assert around(text, "ben@shop.example") == ""


def test_lines_that_repeat_the_header_give_no_reason() -> None:
    assert reasons_in("Gone.\nMessage-ID: <spam@x>\n  Subject: virus\n").split() == ["Gone."]
