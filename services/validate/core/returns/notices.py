"""Composes the mail to a client's forwarding address: returned messages, reports and digests. Pure.

A returned message is attached unchanged (message/rfc822). A mail server could refuse or change a
message that has non-ASCII characters in the header, NUL bytes, or lines that are too long. Such a
message is attached as a file (application/octet-stream, base64). The attachment has at most
MAX_ORIGINAL_BYTES; the rest of the message is cut off.

If the deliver service could not deliver a message, the mail to the forwarding address is a
multipart/report (RFC 3464; RFC 6533 for internationalized addresses). Its two machine-readable
parts are message/delivery-status and the header of the message (text/rfc822-headers, RFC 6522). The
header is in base64 if a mail server could refuse or change it. The report does not contain the
body, because the body is not stored.

Guarantees: neither the returned message nor a server's reply can forge a field, a line or a part of
the mail. Each value is one line of printable characters; in reports, all characters are ASCII. The
MIME boundary does not occur in the parts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from shared.smtp.content import has_longer_line, with_crlf
from shared.topics.records import ReturnAddressKind, Returned

# A record of mail.outbound may be at most 2 MiB, and base64 makes the original a third longer.
MAX_ORIGINAL_BYTES: Final = 1024 * 1024
MAX_VALUE_CHARS: Final = 500
_LINE_CHARS: Final = 76
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_HEADER_END: Final = b"\r\n\r\n"
_NEWLINE: Final = b"\r\n"

EXPIRED: Final = "expired"
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_HOST: Final = re.compile(r"[0-9A-Za-z_.:\[\]-]{1,255}")
_NOT_VISIBLE_ASCII: Final = re.compile(r"[^\x21-\x7e]+")


class Notice(Struct, frozen=True):
    """The contents of a mail to the forwarding address. Entries of `fields` without a value are
    left out.
    """

    sending_domain: str
    recipient: str
    message_id: str
    hop: str
    subject: str
    fields: Sequence[tuple[str, str]]
    text: Sequence[str]
    at_ms: int
    original: bytes | None = None
    report: Sequence[bytes] = ()  # the parts of a delivery report


def compose(notice: Notice) -> bytes:
    """Return the bytes of the mail, with CRLF line ends."""
    header = [
        _field("Date", _date(notice.at_ms // 1000)),
        _field("From", f"Returned mail <postmaster@{notice.sending_domain}>"),
        _field("To", notice.recipient),
        _field("Subject", notice.subject),
        _field("Message-ID", notice.message_id),
        # RFC 3834, 5: machines must not answer this mail.
        _field("Auto-Submitted", "auto-generated"),
        _field("X-Auto-Response-Suppress", "All"),
        _field("X-Sluice-Hop", f"1; {notice.hop}"),
        *(_field(name, value) for name, value in notice.fields if value),
        _field("MIME-Version", "1.0"),
    ]
    text = "".join(f"{_one_line(line)}\r\n" for line in notice.text).encode()
    if notice.original is None and not notice.report:
        return b"".join([*header, *_text_part(text)])
    kind, parts = _parts(notice)
    boundary = _boundary(notice.hop, [text, *parts])
    mark = b"--" + boundary.encode()
    between = _NEWLINE + mark + _NEWLINE
    return b"".join(
        [
            *header,
            _field("Content-Type", f'{kind}; boundary="{boundary}"'),
            between,
            between.join([b"".join(_text_part(text)), *parts]),
            _NEWLINE + mark + b"--" + _NEWLINE,
        ]
    )


def is_cut(original: bytes) -> bool:
    """Return whether only the beginning of this message is attached."""
    return len(original) > MAX_ORIGINAL_BYTES


def report_of(
    returned: Returned, header: bytes, sending_domain: str, now_ms: int
) -> Sequence[bytes]:
    """Return the parts of the report if the deliver service could not deliver the message;
    otherwise return no parts."""
    if returned.address_kind is not ReturnAddressKind.UNDELIVERED:
        return ()
    status = "".join(f"{line}\r\n" for line in _status_lines(returned, sending_domain, now_ms))
    return (
        b"Content-Type: message/delivery-status\r\n\r\n" + status.encode("ascii"),
        _header_part(header),
    )


@lru_cache(maxsize=8)  # most messages of one batch have the same dates
def _date(at_s: int) -> str:
    return format_datetime(datetime.fromtimestamp(at_s, UTC))


def _parts(notice: Notice) -> tuple[str, Sequence[bytes]]:
    """Return the content type of the mail and the parts after its text."""
    if notice.report:
        return "multipart/report; report-type=delivery-status", notice.report
    # Cut the original again, because CRLF line ends make it longer. Without this cut, the record
    # might be too large for its topic.
    original = with_crlf((notice.original or b"")[:MAX_ORIGINAL_BYTES])[:MAX_ORIGINAL_BYTES]
    return "multipart/mixed", [b"".join(_original_part(original))]


def _text_part(text: bytes) -> Iterable[bytes]:
    yield _field("Content-Type", "text/plain; charset=utf-8")
    yield _field("Content-Transfer-Encoding", "7bit" if text.isascii() else "8bit")
    yield _NEWLINE
    yield text


def _original_part(original: bytes) -> Iterable[bytes]:
    header = original.partition(_HEADER_END)[0]
    if header.isascii() and b"\0" not in original and not has_longer_line(original):
        yield _field("Content-Type", "message/rfc822")
        yield _field("Content-Disposition", 'attachment; filename="returned.eml"')
        yield _field("Content-Transfer-Encoding", "7bit" if original.isascii() else "8bit")
        yield _NEWLINE
        yield original
        return
    yield _field("Content-Type", 'application/octet-stream; name="returned.eml"')
    yield _field("Content-Disposition", 'attachment; filename="returned.eml"')
    yield _field("Content-Transfer-Encoding", "base64")
    yield _NEWLINE
    yield base64.encodebytes(original).replace(b"\n", _NEWLINE)


def _boundary(hop: str, parts: Sequence[bytes]) -> str:
    boundary = f"={hop}"
    while any(boundary.encode() in part for part in parts):
        boundary += "="
    return boundary


def _field(name: str, value: str) -> bytes:
    """Return a folded field; characters beyond ASCII become encoded words (RFC 2047)."""
    line = _one_line(value)
    if not line.isascii():
        encoded = Header(line, "utf-8", _LINE_CHARS, name).encode(linesep="\r\n")
        return f"{name}: {encoded}\r\n".encode("ascii")
    return f"{name}: {_folded(line, len(name) + 2)}\r\n".encode("ascii")


def _folded(line: str, used: int) -> str:
    if len(line) <= _LINE_CHARS - used:
        return line
    lines, room = [""], _LINE_CHARS - used
    for word in line.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append(word)
            room = _LINE_CHARS - 1
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return "\r\n ".join(lines)


def _one_line(value: str) -> str:
    # Fast path: most texts are printable and have no two spaces in a row.
    if value.isprintable() and "  " not in value:
        return value.strip(" ")[:MAX_VALUE_CHARS]
    return " ".join(_UNPRINTABLE.sub(" ", value).split())[:MAX_VALUE_CHARS]


def _status_lines(returned: Returned, sending_domain: str, now_ms: int) -> Iterator[str]:
    yield f"Reporting-MTA: dns; {_ascii_line(sending_domain)}"
    if returned.submitted_at_ms:
        yield f"Arrival-Date: {_date(returned.submitted_at_ms // 1000)}"
    yield ""
    yield f"Final-Recipient: {_recipient(returned.recipient)}"
    yield "Action: failed"
    yield f"Status: {_status(returned)}"
    if _HOST.fullmatch(returned.site):
        yield f"Remote-MTA: dns; {returned.site}"
    if returned.reply:
        yield f"Diagnostic-Code: smtp; {_ascii_line(returned.reply)}"
    yield f"Last-Attempt-Date: {_date((returned.received_at_ms or now_ms) // 1000)}"


def _status(returned: Returned) -> str:
    """Return the status code. If the code is missing or invalid, return a default, because a report
    must have a status code."""
    if _STATUS.fullmatch(returned.status):
        return returned.status
    return "4.4.7" if returned.kind == EXPIRED else "5.0.0"  # RFC 3463: delivery time expired


def _recipient(address: str) -> str:
    if address.isascii():
        return f"rfc822; {_ascii_line(address)}"
    # RFC 6533, 3: this form is for reports that are not message/global-delivery-status.
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


def _ascii_line(value: str) -> str:
    return _NOT_VISIBLE_ASCII.sub(" ", value).strip()[:MAX_VALUE_CHARS]
