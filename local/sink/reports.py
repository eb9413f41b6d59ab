"""Composes and sends the mail that the sink sends back: delivery reports and complaints.

Like the reports of mail servers, a report contains the address of the recipient and the header of
the message (RFC 3464, RFC 5965). Reports are sent by SMTP to the server that receives mail for the
sending domains. Owns: composing reports, the queue, and the one task that sends them. Sending a
report is tried a few times, because the server may be starting or may be stopped on purpose. If all
tries fail, the report is dropped, and the sink continues.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.settings.addresses import split_address

_HOST: Final = "sink.invalid"
_HEADER_END: Final = b"\r\n\r\n"
_BOUNDARY: Final = "sink-report"
MAX_WAITING: Final = 10_000
_TRIES: Final = 30
_RETRY_S: Final = 1.0
_TIMEOUT_S: Final = 20.0


class Report(StrEnum):
    """The kinds of mail that come back after a message was accepted."""

    BOUNCE = "return"
    COMPLAINT = "complain"


class Outgoing(Struct, frozen=True):
    """A report, and the return path to which it is sent."""

    return_path: str
    content: bytes


def report_for(recipient: str) -> Report | None:
    """Return the kind of report that comes back from this recipient. Return None if no report comes
    back."""
    return next((each for each in Report if recipient.startswith(f"{each.value}-")), None)


def compose(report: Report, return_path: str, recipient: str, content: bytes) -> bytes:
    """Return a report about a message (`content`) to this recipient, addressed to `return_path`."""
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


class Returning:
    """Sends reports to one server, one after the other. Used only on the event loop."""

    def __init__(self, address: str) -> None:
        self._host, self._port = split_address(address)
        self._waiting: asyncio.Queue[Outgoing] = asyncio.Queue(MAX_WAITING)

    def add(self, report: Report, return_path: str, recipient: str, content: bytes) -> None:
        """Queue a report. If there is no return path or the queue is full, drop the report."""
        if return_path and not self._waiting.full():
            made = compose(report, return_path, recipient, content)
            self._waiting.put_nowait(Outgoing(return_path, made))

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            outgoing = await self._waiting.get()
            for _ in range(_TRIES):
                try:
                    await asyncio.to_thread(self._send, outgoing)
                    break
                except smtplib.SMTPRecipientsRefused as refused:
                    print(f"sink: a report was refused: {refused}", file=sys.stderr, flush=True)
                    break
                except (OSError, smtplib.SMTPException):
                    await asyncio.sleep(_RETRY_S)

    def _send(self, outgoing: Outgoing) -> None:
        with smtplib.SMTP(self._host, self._port, "sink.invalid", _TIMEOUT_S) as session:
            session.sendmail("", [outgoing.return_path], outgoing.content)
