"""Returned mail for tests: delivery reports, feedback reports, and their records."""

from __future__ import annotations

import base64
import quopri

from msgspec.structs import replace

from bench import returned_mail
from bench.returned_mail import AT_MS, KEYS, SHOP, mail_id_of, return_path
from shared.topics.records import ReturnAddressKind, Returned

__all__ = ["AT_MS", "KEYS", "SHOP", "mail_id_of", "return_path"]
ANNA = "anna@people.example"


def to_return_path(number: int, recipient: str = ANNA, *, return_number: int = 0) -> Returned:
    """Return what the bounce door knows about mail to the return path of a message."""
    return returned_mail.to_return_path(number, recipient, return_number=return_number)


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
    shown = "redacted" if redacted else recipient
    return feedback_on(
        f"{quoted}From: news@news.shop.example\nTo: {shown}\nSubject: Spring\n\nHello.\n",
        "" if redacted else recipient,
    )


def feedback_on(original: str, named: str = "", encoding: str = "", kind: str = "abuse") -> bytes:
    """Return a feedback report (RFC 5965) on this message; `named` is the recipient in it."""
    if encoding == "base64":
        original = base64.encodebytes(original.encode()).decode()
    if encoding == "quoted-printable":
        original = quopri.encodestring(original.encode()).decode()
    how = f"Content-Transfer-Encoding: {encoding}\n" if encoding else ""
    who = f"Original-Rcpt-To: {named}\n" if named else ""
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

Feedback-Type: {kind}
User-Agent: Provider/1.0
Version: 1
{who}
--b
Content-Type: message/rfc822
{how}
{original}
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
