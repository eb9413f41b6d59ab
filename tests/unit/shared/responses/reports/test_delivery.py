"""The fields of delivery reports, whole and broken."""

from __future__ import annotations

import pytest

from shared.responses.reports.delivery import MAX_RECIPIENTS, read_delivery_fields
from shared.responses.reports.statement import Statement

ANNA = "anna@shop.example"


def one(text: str) -> Statement:
    (found,) = read_delivery_fields(text)
    return found


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; anna@shop.example", ANNA),
        ("RFC822;<anna@SHOP.example>", ANNA),
        ("anna@shop.example", ANNA),
        ("rfc822; @hub.example:anna@shop.example", ANNA),
        ("utf-8; \\x{E5}nna@shop.example", "ånna@shop.example"),
        ("utf-8; \\x{D800}anna@shop.example", ANNA),
        ('rfc822; "a b"@shop.example', '"a b"@shop.example'),
        ("rfc822; o'brien@shop.example", "o'brien@shop.example"),
        ("x-unknown; nobody", ""),
    ],
)
def test_a_recipient_is_read_in_its_normal_form(value: str, address: str) -> None:
    assert one(f"Final-Recipient: {value}\nAction: failed\n").address == address


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        (
            "Original-Recipient: rfc822;b@shop.example\nFinal-Recipient: rfc822;anna@shop.example",
            ANNA,
        ),
        (
            "Original-Recipient: rfc822;anna@shop.example\nFinal-Recipient: rfc822;anna@mailstore",
            ANNA,
        ),
        ("Final-Recipient: rfc822;anna\nX-Actual-Recipient: rfc822;anna@shop.example", ANNA),
        ("Original-Recipient: rfc822;anna@shop.example", ANNA),
    ],
)
def test_a_name_that_only_the_host_knows_yields_to_the_original(fields: str, address: str) -> None:
    assert one(f"{fields}\nAction: failed\n").address == address


def test_fields_are_read_with_their_comments_and_continued_lines() -> None:
    found = one(
        "Final-Recipient: rfc822; anna@shop.example\nAction: failed (really)\n"
        "Status: 5.1.1 (no such box)\nDiagnostic-Code: smtp; 550-5.1.1 unknown\n"
        "550 5.1.1 user\n\tindeed\n"
    )
    assert (found.action, found.status) == ("failed", "5.1.1")
    assert found.diagnostic == "550-5.1.1 unknown 550 5.1.1 user indeed"


def test_the_comment_of_the_status_stands_in_for_a_missing_diagnostic() -> None:
    found = one("Final-Recipient: rfc822; anna@shop.example\nStatus: 5.0.0 (disk quota)\n")
    assert found.diagnostic == "disk quota"


@pytest.mark.parametrize("status", ["5.1.\u0661", "5.\u0661.1", "\u0665.1.1"])
def test_digits_of_other_scripts_are_no_status(status: str) -> None:
    assert one(f"Final-Recipient: rfc822; anna@shop.example\nStatus: {status}\n").status == ""


@pytest.mark.parametrize("between", ["\n\n", "\n", "\n\n\n\n"])
def test_each_recipient_is_a_group(between: str) -> None:
    text = between.join(
        f"Final-Recipient: rfc822; {name}@shop.example\nAction: failed\nStatus: 5.1.{number}"
        for number, name in enumerate(("a", "b", "c"))
    )
    found = read_delivery_fields(f"Reporting-MTA: dns; mx\n\n{text}\n")
    assert [(each.address[0], each.status) for each in found] == [
        ("a", "5.1.0"),
        ("b", "5.1.1"),
        ("c", "5.1.2"),
    ]


def test_the_action_may_come_first() -> None:
    found = one("Action: failed\nStatus: 5.1.1\n\nFinal-Recipient: rfc822; anna@shop.example\n")
    assert (found.address, found.status) == (ANNA, "5.1.1")


def test_a_recipient_that_comes_again_counts_once() -> None:
    group = "Final-Recipient: rfc822; anna@shop.example\nStatus: 5.1.1\n\n"
    assert len(read_delivery_fields(group * 5)) == 1


@pytest.mark.parametrize("text", ["", "Reporting-MTA: dns; mx\n", "Status: 5.1.1", "\n" * 9_000])
def test_a_text_without_a_recipient_has_no_statement(text: str) -> None:
    assert read_delivery_fields(text) == []


def test_only_so_many_recipients_are_read() -> None:
    groups = (f"Final-Recipient: rfc822; a{n}@shop.example\n\n" for n in range(500))
    assert len(read_delivery_fields("".join(groups))) == MAX_RECIPIENTS
