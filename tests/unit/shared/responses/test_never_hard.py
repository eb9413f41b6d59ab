"""What is never hard, whatever else a message says."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.responses.reading import understand
from shared.responses.understood import ResponseKind
from tests.support.response_rules import RULES

FOLDER: Final = Path(__file__).resolve().parents[3] / "golden" / "returned"
HARD_WORDS: Final = (
    "550 5.1.1 <anna@shop.example>: User unknown",
    "550 5.1.1 Recipient address rejected: user unknown in virtual mailbox table",
    "550 5.1.2 Host or domain name not found",
    "sorry, no mailbox here by that name (#5.1.1)",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found",
    "<anna@shop.example>: does not exist",
)
WORDS: Final = st.sampled_from(HARD_WORDS)


def report(action: str, status: str, words: str, original: str = "", text: str = "") -> bytes:
    return (
        "From: MAILER-DAEMON@mx.example (Mail Delivery System)\n"
        "Subject: Mail delivery report\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\nThis is the mail system at host mx.example.\n{text}\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n"
        f"Final-Recipient: rfc822; anna@shop.example\nAction: {action}\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; {words}\n\n"
        "--b\nContent-Type: message/rfc822\n\nTo: anna@shop.example\nSubject: a\n\n"
        f"{original}\n--b--\n"
    ).encode()


def kind(content: bytes) -> ResponseKind:
    return understand(content, RULES).kind


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
@given(words=WORDS, status=st.sampled_from(["5.1.1", "4.1.1", "2.0.0"]))
def test_a_report_that_nothing_has_failed_is_never_hard(
    action: str, words: str, status: str
) -> None:
    assert kind(report(action, status, words, text=words)) is not ResponseKind.HARD


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_the_returned_message_is_never_evidence(words: list[str]) -> None:
    full = report("failed", "5.2.2", "552 5.2.2 Mailbox full", original="\n".join(words))
    assert kind(full) is ResponseKind.SOFT


@pytest.mark.parametrize(
    "line",
    [
        "--- Below this line is a copy of the message.",
        "------ This is a copy of the message, including all the headers. ------",
        "   ----- Original message follows -----",
        "Old message:",
        "-------- Ursprüngliche Nachricht --------",
    ],
)
@given(words=st.lists(WORDS, min_size=1, max_size=4))
def test_text_below_the_line_of_the_returned_message_is_never_evidence(
    line: str, words: list[str]
) -> None:
    text = "\n".join(words)
    content = (
        "From: MAILER-DAEMON@mx.example\nSubject: failure notice\n\n"
        f"<anna@shop.example>:\nmailbox is full\n\n{line}\n\n{text}\n"
    )
    assert kind(content.encode()) is ResponseKind.SOFT


HEADERS: Final = (
    "Auto-Submitted: auto-replied",
    "X-Autoreply: yes",
    "Precedence: auto_reply",
    "X-MS-Exchange-Inbox-Rules-Loop: anna@shop.example",
)


@pytest.mark.parametrize("header", HEADERS)
@given(words=WORDS)
def test_a_persons_automatic_answer_is_never_hard(header: str, words: str) -> None:
    content = f"From: Anna <anna@shop.example>\n{header}\nSubject: Re: Offers\n\n{words}\n"
    assert kind(content.encode()) is ResponseKind.AUTO_REPLY


@pytest.mark.parametrize(
    "subject", ["Error in my address", "Problem with delivery", "Your mail came back with an error"]
)
@given(words=WORDS)
def test_the_null_return_path_and_words_alone_are_never_hard(subject: str, words: str) -> None:
    content = (
        f"Return-Path: <>\nFrom: Anna <anna@shop.example>\nSubject: {subject}\n\n"
        f"Your message to my old mailbox: {words}\n"
    )
    assert kind(content.encode()) is not ResponseKind.HARD


SUBJECTS: Final = (
    "Automatic reply: Offers",
    "Abwesenheitsnotiz",
    "Read: Offers",
    "Bounce action notification of the mailing list",
    "Delivered: Offers",
)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("sender", ["postmaster@shop.example", "anna@shop.example"])
@given(words=WORDS)
def test_an_answer_of_a_machine_is_never_hard(subject: str, sender: str, words: str) -> None:
    content = f"From: {sender}\nSubject: {subject}\n\nmailing list: {words}\n"
    assert kind(content.encode()) is not ResponseKind.HARD


NOT_THE_RECIPIENT: Final = (
    "550 5.7.1 Sender address rejected: user unknown",
    "554 5.7.1 Client host rejected: host not found",
    "550 5.7.1 Relaying denied for unknown user",
    "550 5.7.26 Unauthenticated mail: domain does not exist in DMARC",
    "450 4.1.1 Recipient address rejected: user unknown, try again",
    "552 5.2.2 Unknown quota: mailbox is full",
    "550 5.7.1 Blocked by zen.spamhaus.org: user unknown",
    "554 5.6.0 Message contains a virus, unknown user agent",
    "550 5.7.1 Verification failed for <news@sender.example>: no such user",
)


@pytest.mark.parametrize("words", NOT_THE_RECIPIENT)
def test_a_refusal_of_something_else_is_never_hard(words: str) -> None:
    status = words.split()[1]
    assert kind(report("failed", status, words)) is not ResponseKind.HARD


# RFC 3463, 3. Each is about something else than an address that does not exist.
STATUSES: Final = (
    "5.0.0",
    "5.1.4",
    "5.1.7",
    "5.1.9",
    "5.2.0",
    "5.3.0",
    "5.4.0",
    "5.5.0",
    "5.6.0",
    "5.7.1",
    "5.7.13",
)


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_that_is_not_about_an_unknown_address_is_never_hard(status: str) -> None:
    assert kind(report("failed", status, "")) is not ResponseKind.HARD


@pytest.mark.parametrize("subject", ["Delivery failure", "Undelivered Mail", "Failure notice"])
@pytest.mark.parametrize("sender", ["anna@r.example", "noreply@r.example", "root@r.example"])
@given(words=WORDS)
def test_a_letter_with_the_subject_and_the_words_of_a_report_is_never_hard(
    subject: str, sender: str, words: str
) -> None:
    content = f"From: {sender}\nSubject: {subject}\n\nMy e-mail was not delivered: {words}\n"
    assert kind(content.encode()) is not ResponseKind.HARD


@pytest.mark.parametrize("sender", ["postmaster@r.example", "MAILER-DAEMON@r.example"])
@given(words=st.sampled_from([words for words in HARD_WORDS if "@" not in words]))
def test_a_text_that_names_no_recipient_is_never_hard(sender: str, words: str) -> None:
    content = f"From: {sender}\nSubject: Undeliverable\n\nA message was not delivered: {words}\n"
    assert kind(content.encode()) is not ResponseKind.HARD
