"""The delivery report on a message that deliver gave up (RFC 3464; RFC 6533 for addresses). Pure.

Two parts of a multipart/report: message/delivery-status, and the header of the message
(text/rfc822-headers, RFC 6522). The body was not kept. A header that mail servers might refuse or
change (8-bit, NUL, long lines) is in base64.

Guarantees: no line of the report can be forged by what a server or the header says: values are one
line of printable ASCII.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from shared.smtp.content import has_longer_line, with_crlf
from shared.topics.records import ReturnAddressKind, Returned

EXPIRED: Final = "expired"
MAX_VALUE_CHARS: Final = 500
_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_HOST: Final = re.compile(r"[0-9A-Za-z_.:\[\]-]{1,255}")
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]+")


def report_of(
    returned: Returned, header: bytes, sending_domain: str, now_ms: int
) -> Sequence[bytes]:
    """Return the parts of the report, header and content; none if deliver did not give it up."""
    if returned.address_kind is not ReturnAddressKind.UNDELIVERED:
        return ()
    status = "".join(f"{line}\r\n" for line in _status_lines(returned, sending_domain, now_ms))
    return (
        b"Content-Type: message/delivery-status\r\n\r\n" + status.encode("ascii"),
        _header_part(header),
    )


def _status_lines(returned: Returned, sending_domain: str, now_ms: int) -> Iterator[str]:
    yield f"Reporting-MTA: dns; {_one_line(sending_domain)}"
    if returned.submitted_at_ms:
        yield f"Arrival-Date: {_date(returned.submitted_at_ms)}"
    yield ""
    yield f"Final-Recipient: {_recipient(returned.recipient)}"
    yield "Action: failed"
    yield f"Status: {_status(returned)}"
    if _HOST.fullmatch(returned.site):
        yield f"Remote-MTA: dns; {returned.site}"
    if returned.reply:
        yield f"Diagnostic-Code: smtp; {_one_line(returned.reply)}"
    yield f"Last-Attempt-Date: {_date(returned.received_at_ms or now_ms)}"


def _status(returned: Returned) -> str:
    """Return the status code, which a report must have."""
    if _STATUS.fullmatch(returned.status):
        return returned.status
    return "4.4.7" if returned.kind == EXPIRED else "5.0.0"  # RFC 3463: delivery time expired


def _recipient(address: str) -> str:
    if address.isascii():
        return f"rfc822; {_one_line(address)}"
    # RFC 6533, 3: the form for reports that are not message/global-delivery-status.
    written = "".join(
        each if "!" <= each <= "~" and each not in "+=\\" else f"\\x{{{ord(each):X}}}"
        for each in address
    )
    return f"utf-8; {written[:MAX_VALUE_CHARS]}"


def _header_part(header: bytes) -> bytes:
    header = with_crlf(header)
    if header.isascii() and b"\0" not in header and not has_longer_line(header):
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + header
    encoded = base64.encodebytes(header).replace(b"\n", b"\r\n")
    return (
        b"Content-Type: text/rfc822-headers; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded
    )


def _date(at_ms: int) -> str:
    return format_datetime(datetime.fromtimestamp(at_ms / 1000, UTC))


def _one_line(value: str) -> str:
    return _UNPRINTABLE.sub(" ", value).strip()[:MAX_VALUE_CHARS]
