"""The mail that the sink sends back: a delivery report, or a complaint. Pure.

The report names the recipient and holds the header of the message, as mail servers do (RFC 3464,
RFC 5965).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

_HOST: Final = "sink.invalid"
_HEADER_END: Final = b"\r\n\r\n"
_BOUNDARY: Final = "sink-report"


class Report(StrEnum):
    """What comes back after a message was accepted."""

    BOUNCE = "return"
    COMPLAINT = "complain"


def report_for(recipient: str) -> Report | None:
    """Return what this recipient sends back; None if nothing."""
    return next((each for each in Report if recipient.startswith(f"{each.value}-")), None)


def compose(report: Report, return_path: str, recipient: str, content: bytes) -> bytes:
    """Return the mail to the return path of a message to this recipient."""
    header = content.partition(_HEADER_END)[0]
    made = _bounce if report is Report.BOUNCE else _complaint
    kind, subject, parts = made(return_path, recipient)
    lines = [
        f"From: MAILER-DAEMON@{_HOST}",
        f"To: {return_path}",
        f"Subject: {subject}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind}; boundary="{_BOUNDARY}"',
        "",
    ]
    for part in parts:
        lines += [f"--{_BOUNDARY}", *part, ""]
    lines += [f"--{_BOUNDARY}", "Content-Type: text/rfc822-headers", ""]
    end = f"\r\n\r\n--{_BOUNDARY}--\r\n"
    return "\r\n".join([*lines, ""]).encode() + header + end.encode()


_Made = tuple[str, str, tuple[tuple[str, ...], ...]]


def _bounce(_return_path: str, recipient: str) -> _Made:
    text = (
        "Content-Type: text/plain",
        "",
        f"Your message to <{recipient}> could not be delivered: no such mailbox.",
    )
    status = (
        "Content-Type: message/delivery-status",
        "",
        f"Reporting-MTA: dns; {_HOST}",
        "",
        f"Final-Recipient: rfc822; {recipient}",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 No such mailbox",
    )
    return "delivery-status", "Undelivered Mail Returned to Sender", (text, status)


def _complaint(return_path: str, recipient: str) -> _Made:
    text = ("Content-Type: text/plain", "", "A recipient called this message spam.")
    report = (
        "Content-Type: message/feedback-report",
        "",
        "Feedback-Type: abuse",
        "User-Agent: sink/1.0",
        "Version: 1",
        f"Original-Mail-From: {return_path}",
        f"Original-Rcpt-To: {recipient}",
    )
    return "feedback-report", "Complaint about a message", (text, report)
