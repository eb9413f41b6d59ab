"""The kind of what a report says of a recipient."""

from __future__ import annotations

from typing import Final

import pytest

from shared.responses.reports.classing import MAX_DIAGNOSTIC_CHARS, judge
from shared.responses.reports.statement import Statement
from tests.support.response_rules import RULES

ANNA: Final = "anna@shop.example"


def told(statement: Statement) -> str:
    return judge(RULES, statement).recipient.bounce_class


@pytest.mark.parametrize(
    ("diagnostic", "bounce_class"),
    [
        ("550 5.1.1 <anna@shop.example>: User unknown", "hard"),
        ("550-5.1.1 The account that you tried to reach does not exist. 550 5.1.1 See", "hard"),
        ("host mx.shop.example[192.0.2.1] said: 550 5.1.1 unknown user (in reply to", "hard"),
        ("552 5.2.2 Mailbox is full", "soft"),
        ("550 5.2.1 The email account that you tried to reach is disabled", "soft"),
        ("554 5.7.1 Relay access denied", "policy"),
        ("550 5.7.26 fails DMARC", "authentication"),
        ("554 5.6.0 virus found", "content"),
        ("552 5.3.4 Message size exceeds fixed maximum message size", "content"),
        ("554 4.4.7 Message expired: unable to deliver", "network"),
        ("550 Too many hops", "soft"),
        ("556 5.1.10 Domain does not accept mail (nullMX)", "hard"),
        ("DNS Error: Domain name not found", "hard"),
        ("551 5.1.6 recipient no longer on server", "hard"),
        ("550 5.7.1 RESOLVER.RST.AuthRequired; authentication required", "policy"),
        ("450 4.2.2 The mailbox is over quota", "soft"),
        ("550 gobbledygook", "policy"),
        ("gobbledygook", ""),
        ("", ""),
    ],
)
def test_the_diagnostic_gives_the_class(diagnostic: str, bounce_class: str) -> None:
    assert told(Statement(ANNA, "failed", "", diagnostic)) == bounce_class


@pytest.mark.parametrize(
    ("statement", "bounce_class"),
    [
        # A delay is never hard, nor is a passing failure.
        (Statement(ANNA, "delayed", "5.1.1", "550 5.1.1 User unknown"), "soft"),
        (Statement(ANNA, "failed", "4.1.1", "450 4.1.1 User unknown"), "soft"),
        (Statement(ANNA, "failed", "4.0.0", "Domain name not found"), "soft"),
        (Statement(ANNA, "failed", "4.0.0"), "soft"),
        # The reply's own status and words beat the field.
        (Statement(ANNA, "failed", "5.1.1", "552 5.2.2 Over quota"), "soft"),
        (Statement(ANNA, "failed", "5.1.3", "553 blocked using zen.spamhaus.org"), "policy"),
        (Statement(ANNA, "failed", "5.1.1"), "hard"),
        (Statement(ANNA, "failed", "5.2.0"), "soft"),
        (Statement(ANNA, "failed", "5.0.0"), ""),
        # The same words after the content come from a filter.
        (
            Statement(ANNA, "failed", "5.0.0", "550 Unknown user", "(in reply to end of DATA"),
            "soft",
        ),
        (Statement(ANNA, "failed", "5.0.0", "550 Unknown user", "(in reply to RCPT TO"), "hard"),
        (Statement(ANNA, "failed", "5.0.0", "550 Unknown user"), "soft"),
        (Statement(ANNA, "failed", "5.0.0", "550 Unknown user", is_trusted=True), "hard"),
        (Statement(ANNA, "", "", "", "550 5.2.1 Unknown user", is_trusted=True), "soft"),
        (Statement(ANNA, "", "", "", "RCPT TO: 550 5.2.1 Unknown user", is_trusted=True), "hard"),
        (Statement(ANNA, "failed", "5.1.1", "550 Unknown user", ">>> DATA\n<<< 550"), "hard"),
        # Systems that look up their accounts only after the content, in words of their own.
        (
            Statement(
                ANNA,
                "failed",
                "5.0.0",
                f"550 Local mailbox {ANNA} is unavailable: user not found",
                "(in reply to end of DATA",
            ),
            "hard",
        ),
        (
            Statement(
                ANNA, "failed", "5.0.0", f"550 Local mailbox {ANNA} is unavailable: user not found"
            ),
            "hard",
        ),
        (
            Statement(
                ANNA, "failed", "5.7.1", "550 5.7.1 No such user!", "(in reply to end of DATA"
            ),
            "hard",
        ),
        (
            Statement(ANNA, "failed", "5.0.0", "550 No such user", "(in reply to end of DATA"),
            "soft",
        ),
        (
            Statement(
                ANNA,
                "failed",
                "5.0.0",
                "554 delivery error: dd This user doesn't have a mx.example account",
            ),
            "hard",
        ),
        (
            Statement(ANNA, "failed", "5.0.0", "550 user doesn't have permission for this account"),
            "soft",
        ),
        # 551 answers RCPT only (RFC 5321, 4.3.2).
        (Statement(ANNA, "failed", "5.0.0", "551 not our customer"), "hard"),
        (Statement(ANNA, "failed", "5.0.0", "550 not our customer"), "soft"),
        (
            Statement(ANNA, "failed", "5.0.0", "551 unknown user", "(in reply to end of DATA"),
            "soft",
        ),
        # A server that cannot look anybody up says the same of everybody.
        (
            Statement(
                ANNA, "failed", "5.1.1", "550 5.1.1 User unknown (database connection failed)"
            ),
            "network",
        ),
        # AOL gives its blocks of senders the status of a disabled mailbox.
        (
            Statement(ANNA, "failed", "5.2.1", "521 5.2.1 :  (RLY:BL) https://aol.example/codes"),
            "policy",
        ),
        (
            Statement(ANNA, "failed", "5.2.1", "521 5.2.1 :  (Refused) https://aol.example/codes"),
            "soft",
        ),
        # The refusal of our name or sender is never about the recipient.
        (Statement(ANNA, around="but my name was rejected.\n550 Invalid domain name"), "policy"),
        (Statement(ANNA, around="but sender was rejected.\n550 User unknown"), "policy"),
        # Without a diagnostic the text for people counts.
        (Statement(ANNA, "failed", "5.0.0", "", "anna: the mailbox is full"), "soft"),
        (Statement(ANNA, around="No such user here"), "hard"),
    ],
)
def test_what_else_a_report_says_counts(statement: Statement, bounce_class: str) -> None:
    assert told(statement) == bounce_class


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        (Statement(ANNA, status="5.1.1", diagnostic="552 5.2.2 full"), "5.2.2"),
        (Statement(ANNA, status="5.1.1", diagnostic="550 5.0.0 no"), "5.1.1"),
        (Statement(ANNA, status="5.0.0", diagnostic="550 no (#5.1.1)"), "5.1.1"),
        (Statement(ANNA, status="5.0.0"), "5.0.0"),
        (Statement(ANNA, around="said: 550 5.7.1 no"), "5.7.1"),
        (Statement(ANNA, around="version 5.1.1.2 at 5.1.2.3"), ""),
    ],
)
def test_the_most_telling_status_is_kept(statement: Statement, status: str) -> None:
    assert judge(RULES, statement).recipient.status == status


def test_a_delay_is_not_final() -> None:
    assert not judge(RULES, Statement(ANNA, "delayed")).recipient.is_final
    assert judge(RULES, Statement(ANNA, "failed")).recipient.is_final


def test_a_diagnostic_is_clean_and_short() -> None:
    found = judge(RULES, Statement(ANNA, diagnostic="550 \x1b[2J" + "no \n" * 1_000)).recipient
    assert len(found.diagnostic) <= MAX_DIAGNOSTIC_CHARS
    assert found.diagnostic.isprintable()
