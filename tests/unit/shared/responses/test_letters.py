"""Letters and notices with the words of a report: they are no report."""

from __future__ import annotations

import pytest

from shared.responses.mime.parts import read_message
from shared.responses.reading import understand_message
from shared.responses.understood import ResponseKind
from tests.support.response_rules import RULES

WORDS = "Your mails to anna@shop.example: we reply 550 5.1.1 user unknown, she left. Please stop."
LAYOUT = (
    "This is the mail system at host shop.example.\n\n<anna@shop.example>: host mx.shop.example"
    "[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)\n"
)
FIELDS = (
    "Final-Recipient: rfc822; anna@shop.example\nAction: failed\nStatus: 5.1.1\n"
    "Diagnostic-Code: smtp; 550 5.1.1 User unknown\n"
)
SENDERS = (
    "postmaster@shop.example",
    "Mail Administrator <bob@shop.example>",
    "hostmaster@shop.example",
    "MAILER-DAEMON@shop.example",
)


def kind(
    sender: str, subject: str, text: str, headers: str = "", *, has_null_sender: bool | None = False
) -> ResponseKind:
    content = f"From: {sender}\nSubject: {subject}\n{headers}\n{text}\n".encode()
    return understand_message(read_message(content), RULES, has_null_sender).kind


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("text", [WORDS, LAYOUT, FIELDS])
@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        ("Your mails: user unknown", "In-Reply-To: <o@news.example>\n"),
        ("Delivery problems", "References: <o@news.example>\n"),
        ("Re: Undeliverable: hello", ""),
        ("AW: Frage, unbekannt", ""),
    ],
)
def test_an_answer_from_a_mailbox_is_a_letter(
    sender: str, text: str, subject: str, headers: str
) -> None:
    assert kind(sender, subject, text, headers) is ResponseKind.REPLY


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("subject", ["Problems of our mail system", "Undeliverable: hello"])
@pytest.mark.parametrize(
    ("headers", "has_null_sender"),
    [
        ("", False),
        ("Return-Path: <bob@shop.example>\n", None),
        ("In-Reply-To: <o@news.example>\n", None),
    ],
)
def test_words_alone_from_a_mailbox_are_never_hard(
    sender: str, subject: str, headers: str, has_null_sender: bool | None
) -> None:
    found = kind(sender, subject, WORDS, headers, has_null_sender=has_null_sender)
    assert found is not ResponseKind.HARD


@pytest.mark.parametrize(
    ("text", "headers", "has_null_sender"),
    [
        (WORDS, "", True),
        (WORDS, "In-Reply-To: <o@news.example>\n", True),
        (WORDS, "In-Reply-To: <o@news.example>\nAuto-Submitted: auto-replied\n", False),
        (WORDS, "In-Reply-To: <o@news.example>\nX-Failed-Recipients: anna@shop.example\n", False),
        (WORDS, "Return-Path: <>\nReferences: <o@news.example>\n", None),
        (f"{WORDS}\n\nThis is a copy of the message:\n\nReceived: from a\n", "", False),
        # Some systems report from an address, but no person writes in their layout.
        (LAYOUT, "", False),
        (FIELDS, "", False),
    ],
)
def test_a_report_with_a_sign_of_a_machine_is_hard(
    text: str, headers: str, has_null_sender: bool | None
) -> None:
    subject = "Undelivered Mail Returned to Sender"
    found = kind(
        "MAILER-DAEMON@shop.example", subject, text, headers, has_null_sender=has_null_sender
    )
    assert found is ResponseKind.HARD


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (
            "Postfix SMTP server: errors from unknown[192.0.2.77]",
            "Transcript of session follows.\n\n Out: 250 2.1.0 Ok\n"
            " In:  RCPT TO:<anna@shop.example>\n"
            " Out: 550 5.1.1 <anna@shop.example>: Recipient address rejected: User unknown\n"
            " In:  QUIT\n",
        ),
        ("Logwatch for shop (Linux)", "anna@shop.example   550 5.1.1 User unknown\n"),
        ("mx.shop.example daily run output", "anna@shop.example   550 5.1.1 User unknown\n"),
        ("Postfix log summary for Nov 29", "anna@shop.example   550 5.1.1 User unknown\n"),
    ],
)
@pytest.mark.parametrize("sender", ["MAILER-DAEMON@shop.example", "root@shop.example"])
def test_a_notice_to_the_postmaster_reports_on_nothing_of_ours(
    sender: str, subject: str, text: str
) -> None:
    assert kind(sender, subject, text, has_null_sender=True) is ResponseKind.AUTO_REPLY


def test_the_subject_of_the_returned_message_makes_no_report_a_notice() -> None:
    found = kind("MAILER-DAEMON@shop.example", "Our weekly summary", LAYOUT, has_null_sender=True)
    assert found is ResponseKind.HARD
