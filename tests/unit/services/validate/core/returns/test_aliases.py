"""Reports on a mailbox behind an alias: whom they count against."""

from __future__ import annotations

import pytest

from services.validate.core.returns.identity import Verification, identify
from services.validate.core.returns.meaning import meaning_of
from shared.responses.reading import understand
from shared.topics.records import MailEvent
from tests.support.response_rules import RULES
from tests.support.returned_mail import ANNA, KEYS, SHOP, delivery_report, to_return_path

INSIDE = "a.b@backend.people.example"
OTHER = "ben@backend.people.example"
GONE = "550 5.1.1 <a.b@backend.people.example>: Recipient address rejected: User unknown"


def event(report: bytes) -> MailEvent:
    returned = to_return_path(1)
    identity = identify(returned, report, SHOP, Verification(KEYS, 60))
    return meaning_of(returned, report, understand(report, RULES), identity).data


def fields(*groups: str, final: str = INSIDE) -> bytes:
    """A report in which more fields stand above the first Final-Recipient."""
    marker = f"Final-Recipient: rfc822; {final}".encode()
    added = "\r\n".join(groups).encode()
    return delivery_report(final).replace(marker, added + b"\r\n" + marker)


def text(body: str, subject: str = "Undelivered Mail Returned to Sender") -> bytes:
    head = f"From: MAILER-DAEMON@people.example\nTo: rp@news.shop.example\nSubject: {subject}\n\n"
    return (head + body).replace("\n", "\r\n").encode()


SENDMAIL = f"""   ----- The following addresses had permanent fatal errors -----
anna-box
    (reason: 550 5.1.1 User unknown)
    (expanded from: <{ANNA}>)

   ----- Transcript of session follows -----
550 5.1.1 anna-box... User unknown
"""


@pytest.mark.parametrize(
    "report",
    [
        fields(f"Original-Recipient: rfc822; {ANNA}"),
        fields(f"Original-Recipient: rfc822;{ANNA.upper()}"),
        fields(f"X-Actual-Recipient: rfc822; {ANNA}"),
        fields(f"Original-Recipient: rfc822; {ANNA}", final="anna+tag@people.example"),
        fields(
            f"Final-Recipient: rfc822; {INSIDE}\r\nStatus: 5.1.1\r\n",
            f"Original-Recipient: rfc822; {ANNA}",
        ),
        text(
            f"This is the mail system at host people.example.\n\n<{INSIDE}> (expanded from"
            f" <{ANNA}>): host backend[10.0.0.1] said:\n    {GONE} (in reply to RCPT TO command)\n"
        ),
        text(SENDMAIL, "Returned mail: see transcript for details"),
        text(
            "This message was created automatically by mail delivery software.\n\nThe following"
            f" address(es) failed:\n\n  {INSIDE}\n    (ultimately generated from {ANNA})\n"
            f"    SMTP error from remote mail server after RCPT TO:<{INSIDE}>:\n    {GONE}\n"
        ),
    ],
    ids=["original", "upper", "actual", "tag", "again", "postfix", "sendmail", "exim"],
)
def test_a_report_on_the_mailbox_behind_an_alias_counts_against_the_alias(report: bytes) -> None:
    found = event(report)
    assert (found.recipient.lower(), found.bounce_class) == (ANNA, "hard")


@pytest.mark.parametrize(
    "report",
    [
        fields(f"Original-Recipient: rfc822; {OTHER}"),
        fields(),
        text(
            f"This is the mail system at host people.example.\n\n<{INSIDE}> (expanded from"
            f" <{OTHER}>): host backend[10.0.0.1] said:\n    {GONE} (in reply to RCPT TO command)\n"
        ),
        text(SENDMAIL.replace(ANNA, OTHER), "Returned mail: see transcript for details"),
    ],
    ids=["original", "none", "postfix", "sendmail"],
)
def test_an_alias_that_is_not_the_recipient_counts_against_nobody(report: bytes) -> None:
    found = event(report)
    assert (found.recipient, found.bounce_class) == ("", "")


def test_an_alias_of_several_is_hard_only_if_all_of_them_are() -> None:
    group = (
        f"Original-Recipient: rfc822; {ANNA}\r\nFinal-Recipient: rfc822; {OTHER}\r\n"
        "Action: failed\r\nStatus: {}\r\n"
    )
    own = f"Original-Recipient: rfc822; {ANNA}"
    assert event(fields(group.format("5.2.2"), own)).bounce_class == "soft"
    assert event(fields(group.format("5.1.1"), own)).bounce_class == "hard"
