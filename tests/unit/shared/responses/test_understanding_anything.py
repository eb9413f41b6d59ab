"""Properties of understanding: any bytes have a meaning, within bounds.

A message that is cut or changed may lose or gain meaning: a report without its status reads
differently. This holds: it stays within bounds, and mail that is no report never becomes hard by a
cut, nor a message of a person by words in its text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.responses.mime.parts import MAX_BYTES
from shared.responses.reading import understand
from shared.responses.reports.classing import Judged, judge
from shared.responses.reports.delivery import MAX_RECIPIENTS
from shared.responses.reports.statement import Statement
from shared.responses.rules.model import Rules
from shared.responses.understood import ResponseKind, Understood
from tests.support.response_rules import RULES

FOLDER: Final = Path(__file__).resolve().parents[3] / "golden" / "returned"
NAMES: Final = sorted(path.name for path in FOLDER.glob("*.eml"))
NO_REPORTS: Final = (
    "challenge.eml",
    "feedback-abuse.eml",
    "newsletter.eml",
    "read-receipt.eml",
    "reply-about-a-bounce.eml",
    "reply.eml",
    "ticket.eml",
    "unsubscribe-subject.eml",
    "vacation-quotes-bounce.eml",
    "vacation.eml",
)
PIECES: Final = (
    b"From: MAILER-DAEMON@mx.example\n",
    b"Subject: failure notice\n",
    b"Content-Type: multipart/report; boundary=b\n",
    b"Content-Type: message/delivery-status\n",
    b"Content-Transfer-Encoding: base64\n",
    b"Final-Recipient: rfc822; anna@shop.example\n",
    b"Action: failed\nStatus: 5.1.1\n",
    b"Diagnostic-Code: smtp; 550 5.1.1 user unknown\n",
    b"<anna@shop.example>: 550 user unknown\n",
    b"\n",
    b"--b\n",
    b"--b--\n",
    b"<p><div><a@b>",
    b"\xff\xfe\x00\x1b$B",
    b"@" * 300,
    b"a@b.example " * 50,
    b"\r\n\r",
)


def check(found: Understood) -> None:
    assert found.rule
    assert len(found.recipients) <= MAX_RECIPIENTS
    for recipient in found.recipients:
        assert len(recipient.address) <= 400
        assert len(recipient.diagnostic) <= 500
        assert recipient.kind is not ResponseKind.HARD or recipient.is_final
    kinds = {recipient.kind for recipient in found.recipients}
    assert found.kind is not ResponseKind.HARD or ResponseKind.HARD in kinds


@given(st.binary(max_size=2_000))
def test_any_bytes_have_a_meaning(content: bytes) -> None:
    check(understand(content, RULES))


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_pieces_of_reports_in_any_order_have_a_meaning(pieces: list[bytes]) -> None:
    check(understand(b"".join(pieces), RULES))


@settings(max_examples=300)
@given(st.sampled_from(NAMES), st.data())
def test_a_changed_message_has_a_meaning(name: str, data: st.DataObject) -> None:
    content = (FOLDER / name).read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    between = data.draw(st.sampled_from((b"", b"\n", *PIECES)))
    check(understand(content[:start] + between + content[end:], RULES))


@pytest.mark.parametrize("name", NO_REPORTS)
def test_mail_that_is_no_report_is_never_hard_wherever_it_is_cut(name: str) -> None:
    content = (FOLDER / name).read_bytes()
    for end in range(0, len(content), 7):
        assert understand(content[:end], RULES).kind is not ResponseKind.HARD
        assert understand(content[end:], RULES).kind is not ResponseKind.HARD


WORDS: Final = st.sampled_from(
    (
        "550 5.1.1 user unknown",
        "<ben@shop.example>:",
        "does not exist",
        "no such user",
        "\n",
        "hello",
    )
)


@given(st.lists(WORDS, max_size=20))
def test_a_person_writes_nothing_that_is_hard(words: list[str]) -> None:
    text = " ".join(words)
    content = f"From: Anna <anna@shop.example>\nSubject: Re: Offers\n\n{text}\n".encode()
    assert understand(content, RULES).kind is not ResponseKind.HARD


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quote", [b"", b"> "])
def test_what_a_person_copies_from_a_report_is_never_hard(name: str, quote: bytes) -> None:
    body = (FOLDER / name).read_bytes().partition(b"\n\n")[2].replace(b"\n", b"\n" + quote)
    head = b"From: Ben <ben@firm.example>\nSubject: Fwd: what came back\n\n"
    assert understand(head + quote + body, RULES).kind is not ResponseKind.HARD


HOSTILE: Final = {
    "at_signs": b"@" * 400_000,
    "addresses": b"a@b.example " * 40_000,
    "angles": b"<" * 400_000,
    "html": b"Content-Type: text/html\n\n" + b"<a" * 200_000,
    "boundaries": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 100_000,
    "fields": b"A: b\n" * 100_000,
    "folds": b"Subject: a\n" + b" b\n" * 100_000,
    "spaces": b"From: MAILER-DAEMON@a.b\n\n" + b" " * 400_000,
    "blank_lines": b"From: MAILER-DAEMON@a.b\n\n" + b"\n" * 400_000,
    "quoted_pairs": b"From: MAILER-DAEMON@a.b\n\n" + b"user '" * 60_000,
    "recipients": b"From: MAILER-DAEMON@a.b\n\n" + b"Final-Recipient: rfc822; a@b.c\n" * 20_000,
    "digits": b"From: MAILER-DAEMON@a.b\n\na@b.example\n" + b"550 " * 100_000,
    "dots": b"From: MAILER-DAEMON@a.b\n\na@b.example\n" + b"a." * 100_000,
    "words": b"From: MAILER-DAEMON@a.b\n\na@b.example\n" + b"mailbox user account " * 20_000,
    "encoded": b"Subject: " + b"=?utf-8?q?a?=" * 20_000 + b"\n\n",
    "dashes": b"From: MAILER-DAEMON@a.b\n\n" + b"-" * 400_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_hostile_mail_has_a_meaning(name: str) -> None:
    check(understand(HOSTILE[name], RULES))


def test_what_stands_beyond_the_limit_is_not_read() -> None:
    report = (FOLDER / "qmail-unknown.eml").read_bytes()
    header, _, body = report.partition(b"\n\n")
    found = understand(header + b"\n\n" + b"x" * MAX_BYTES + body, RULES)
    assert found.kind is not ResponseKind.HARD


def test_a_reason_before_many_recipients_is_theirs_and_is_judged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[Statement] = []

    def counting(rules: Rules, statement: Statement) -> Judged:
        judged.append(statement)
        return judge(rules, statement)

    monkeypatch.setattr("shared.responses.reading.judge", counting)
    addresses = [f"anna{number}@shop.example" for number in range(40)]
    content = (
        "From: MAILER-DAEMON@mx.example\nReturn-Path: <>\nSubject: Undelivered mail\n\n"
        "Your message was not delivered, because these mailboxes are full:\n\n"
        + "".join(f"<{address}>\n\n" for address in addresses)
    )
    found = understand(content.encode(), RULES)
    assert [(one.address, one.kind) for one in found.recipients] == [
        (address, ResponseKind.SOFT) for address in addresses
    ]
    assert len(judged) == len(addresses) + 1
