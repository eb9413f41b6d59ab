"""Opens a delivery report that a gateway or a mail system has put into another message. Pure.

Owns: which message is read instead of the one that came. Does not own: what it means (reading.py).
Guarantees: never raises; what is inside the report is not opened again. A person who forwards a
report writes a text, which has addresses, and is no mail system: such mail is not opened.
"""

from __future__ import annotations

from shared.responses.mime.fields import split_header
from shared.responses.mime.parts import Message, read_message
from shared.responses.returned import Returned
from shared.responses.rules.model import Rules


def opened(message: Message, rules: Rules) -> Message:
    """The report inside, or the message itself if there is none."""
    if message.content_type == "multipart/report":
        return message
    if (pasted := _pasted_report(message)) and _is_daemon(message, rules):
        return read_message(pasted)
    wrapped = [part for part in message.parts if part.content_type == "message/rfc822"]
    if len(wrapped) != 1 or not _is_report(wrapped[0].body):
        return message
    others = [part for part in message.parts if not part.is_original]
    if any(b"@" in part.body for part in others) and not _is_daemon(message, rules):
        return message
    return read_message(wrapped[0].body)


def _pasted_report(message: Message) -> bytes:
    """The report that stands in the text below an mbox line; b"" if there is none."""
    text = next((part for part in message.parts if part.content_type == "text/plain"), None)
    if text is None or b"multipart/report" not in text.body:
        return b""
    pasted = b"".join(text.body.partition(b"\nFrom MAILER-DAEMON")[1:])[1:]
    report = pasted.partition(b"\n")[2]
    return report if _is_report(report) else b""


def _is_report(content: bytes) -> bool:
    header = split_header(content)[0].lower()
    return b"multipart/report" in header and b"delivery-status" in header


def _is_daemon(message: Message, rules: Rules) -> bool:
    evidence = Returned(message, rules).evidence
    return evidence is not None and evidence.kind == "bounce"
