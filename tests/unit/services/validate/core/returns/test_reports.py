"""The delivery report on a message that deliver gave up."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from msgspec.structs import replace

from services.validate.core.returns.forwarding import Cause, Way, message_of, unsent
from services.validate.core.returns.notices import report_of
from shared.responses.reading import understand
from shared.responses.understood import ResponseKind
from shared.smtp.content import has_longer_line, has_only_crlf
from shared.topics.records import Message, ReturnAddressKind, Returned
from tests.support.response_rules import RULES
from tests.support.returned_mail import ANNA, AT_MS, SHOP, mail_id_of

WAY = Way(lambda domain: "lane", lambda return_id: f"sluice-fw-{return_id}", AT_MS)
HEADER = b"Subject: Sale\r\nTo: anna@people.example\r\n"
GIVEN_UP = Returned(
    return_id=mail_id_of(2),
    client="shop",
    recipient=ANNA,
    sender="news@news.shop.example",
    received_at_ms=AT_MS,
    address_kind=ReturnAddressKind.UNDELIVERED,
    mailing_id="spring",
    sub_client="north",
    mail_id=mail_id_of(1),
    reason="The server answered RCPT with 550 5.1.1 no such user",
    status="5.1.1",
    kind="hard",
    reply="550 5.1.1 no such user",
    site="mx.people.example",
    submitted_at_ms=AT_MS - 60_000,
)


def forwarded(returned: Returned = GIVEN_UP, header: bytes = HEADER) -> Message:
    return message_of(unsent(returned, header, Cause.BOUNCED), SHOP, WAY)


def parsed(message: Message) -> EmailMessage:
    found = email.message_from_bytes(message.content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def parts(message: Message) -> list[EmailMessage]:
    return [part for part in parsed(message).iter_parts() if isinstance(part, EmailMessage)]


def status_of(returned: Returned) -> list[str]:
    return report_of(returned, b"", SHOP.sending_domain, AT_MS)[0].decode("ascii").split("\r\n")


def test_the_report_has_the_reply_of_the_server_and_the_header_of_the_message() -> None:
    message = forwarded()
    assert parsed(message).get_content_type() == "multipart/report"
    assert parsed(message).get_param("report-type") == "delivery-status"
    text, status, header = parts(message)
    assert "Its body is not kept" in text.get_content()
    payload = status.get_payload()
    assert isinstance(payload, list)
    assert [part.items() for part in payload if isinstance(part, EmailMessage)] == [
        [
            ("Reporting-MTA", "dns; news.shop.example"),
            ("Arrival-Date", "Mon, 21 Sep 2026 14:12:20 +0000"),
        ],
        [
            ("Final-Recipient", f"rfc822; {ANNA}"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; mx.people.example"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 no such user"),
            ("Last-Attempt-Date", "Mon, 21 Sep 2026 14:13:20 +0000"),
        ],
    ]
    assert header.get_content_type() == "text/rfc822-headers"
    assert HEADER in message.content


def test_the_mail_names_what_it_is_about_and_has_the_null_return_path() -> None:
    message = forwarded()
    mail = parsed(message)
    assert {name: value for name, value in mail.items() if name.startswith("X-Sluice")} == {
        "X-Sluice-Hop": f"1; sluice-fw-{GIVEN_UP.return_id}",
        "X-Sluice-Client": "shop",
        "X-Sluice-Mailing": "spring",
        "X-Sluice-Sub-Client": "north",
        "X-Sluice-Mail-Id": mail_id_of(1),
        "X-Sluice-Return-Id": mail_id_of(2),
        "X-Sluice-Cause": "bounced",
        "X-Sluice-Kind": "hard",
        "X-Sluice-Status": "5.1.1",
        "X-Sluice-Recipient": ANNA,
        "X-Sluice-Reason": GIVEN_UP.reason,
    }
    assert (message.envelope.sender, message.envelope.forwards) == ("", mail_id_of(1))


def test_our_own_report_is_understood_as_what_it_says() -> None:
    found = understand(forwarded().content, RULES)
    assert found.kind is ResponseKind.HARD
    assert [(each.address, each.status) for each in found.recipients] == [(ANNA, "5.1.1")]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"status": "", "kind": "expired"}, "Status: 4.4.7"),
        ({"status": "", "kind": ""}, "Status: 5.0.0"),
        ({"status": "nonsense\r\nX: y"}, "Status: 5.0.0"),
        (
            {"reply": "550 no\r\nAction: delivered"},
            "Diagnostic-Code: smtp; 550 no Action: delivered",
        ),
        ({"reply": "550 größer"}, "Diagnostic-Code: smtp; 550 gr er"),
        ({"recipient": "jürgen@m.example"}, r"Final-Recipient: utf-8; j\x{FC}rgen@m.example"),
        (
            {"recipient": "a\\ü+@m.example"},
            r"Final-Recipient: utf-8; a\x{5C}\x{FC}\x{2B}@m.example",
        ),
    ],
)
def test_no_line_of_the_report_is_forged_and_each_is_valid(
    changed: dict[str, str], line: str
) -> None:
    found = status_of(replace(GIVEN_UP, **changed))
    assert line in found
    assert len(found) == len(status_of(GIVEN_UP))


@pytest.mark.parametrize("empty", ["site", "reply"])
def test_what_is_not_known_is_left_out(empty: str) -> None:
    assert len(status_of(replace(GIVEN_UP, **{empty: ""}))) == len(status_of(GIVEN_UP)) - 1


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Subject: gr\xc3\xbc\xc3\x9fe\r\n",
        b"Subject: gr\xfc\xdfe",
        b"Subject: nul \0\r\n",
        b"Subject: " + b"long" * 400 + b"\r\n",
        bytes(range(256)) * 100,
        b"\r\n--=sluice-fw-" + GIVEN_UP.return_id.encode() + b"--\r\n",
    ],
)
def test_whatever_the_header_was_any_server_takes_the_mail(header: bytes) -> None:
    message = forwarded(header=header)
    assert has_only_crlf(message.content)
    assert not has_longer_line(message.content)
    assert b"\0" not in message.content
    assert [part.get_content_type() for part in parts(message)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert not parts(message)[2].defects


@pytest.mark.parametrize(
    "kind", [each for each in ReturnAddressKind if each is not ReturnAddressKind.UNDELIVERED]
)
def test_nothing_else_has_a_report(kind: ReturnAddressKind) -> None:
    assert not report_of(replace(GIVEN_UP, address_kind=kind), HEADER, "x.example", AT_MS)
