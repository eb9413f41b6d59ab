"""Returned mail for tests: delivery reports, feedback reports, and their records."""

from __future__ import annotations

from msgspec.structs import replace

from shared.mail import verp
from shared.mail.verp import Keys, ReturnPath, parse_keys
from shared.registry.client import Client, Code
from shared.topics import ids
from shared.topics.records import ReturnAddressKind, Returned

KEYS: Keys = parse_keys("1 2026-01-01 " + "5c" * 32)
AT_MS = 1_790_000_000_000
SHOP = Client(
    "shop",
    "news.shop.example",
    "back@owner.example",
    "standard",
    codes={"c1": Code("spring", "north")},
)
ANNA = "anna@people.example"


def mail_id_of(number: int) -> str:
    return ids.encode((AT_MS << 80) | number)


def return_path(mail_id: str, recipient: str, client: Client = SHOP, keys: Keys = KEYS) -> str:
    """Return the local part of the return path of this message of the mailing `spring`."""
    path = ReturnPath(
        verp.day_of(AT_MS),
        verp.mailing_hash("spring", "north"),
        verp.recipient_hash(mail_id, recipient),
        mail_id,
    )
    return verp.encode(keys, client.name, path)


def to_return_path(number: int, recipient: str = ANNA, *, return_number: int = 0) -> Returned:
    """Return what the bounce door knows about mail to the return path of a message."""
    mail_id = mail_id_of(number)
    local = return_path(mail_id, recipient)
    return Returned(
        return_id=mail_id_of(1_000_000 + (return_number or number)),
        client="shop",
        recipient=f"{local}@{SHOP.sending_domain}",
        sender="",
        received_at_ms=AT_MS,
        address_kind=ReturnAddressKind.RETURN_PATH,
        mailing_id="spring",
        sub_client="north",
        mail_id=mail_id,
        recipient_hash=verp.recipient_hash(mail_id, recipient),
    )


def to_address(kind: ReturnAddressKind, local: str, sender: str = "") -> Returned:
    """Return what the bounce door knows about mail to another address of the sending domain."""
    found = Returned(mail_id_of(7_000_000), "shop", "", sender, AT_MS, kind)
    return replace(found, recipient=f"{local}@{SHOP.sending_domain}")


def delivery_report(
    recipient: str, status: str = "5.1.1", said: str = "550 5.1.1 user unknown", action: str = ""
) -> bytes:
    """Return a delivery report (RFC 3464)."""
    action = action or ("failed" if status.startswith("5") else "delayed")
    return crlf(
        f"""From: MAILER-DAEMON@mx.example
To: someone@news.shop.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

The message could not be delivered to <{recipient}>: {said}

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {said}

--b
Content-Type: message/rfc822

From: news@news.shop.example
To: {recipient}
Subject: Spring

Hello.

--b--
"""
    )


def feedback_report(
    recipient: str, return_path_quoted: str = "", *, redacted: bool = False
) -> bytes:
    """Return a complaint (RFC 5965), with the return path of the message as a server adds it."""
    quoted = f"Return-Path: <{return_path_quoted}>\n" if return_path_quoted else ""
    named = "" if redacted else f"Original-Rcpt-To: {recipient}\n"
    return crlf(
        f"""From: feedback@provider.example
To: abuse@news.shop.example
Subject: FW: Spring
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an email abuse report.

--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Provider/1.0
Version: 1
{named}
--b
Content-Type: message/rfc822

{quoted}From: news@news.shop.example
To: {"redacted" if redacted else recipient}
Subject: Spring

Hello.

--b--
"""
    )


def letter(sender: str, subject: str, text: str = "Hello.", headers: str = "") -> bytes:
    """Return a letter of a person."""
    return crlf(
        f"From: {sender}\nTo: news@news.shop.example\nSubject: {subject}\n{headers}\n{text}\n"
    )


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()
