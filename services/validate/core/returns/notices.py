"""Composes the mail to a client's forwarding address: a returned message, a report, a digest. Pure.

The returned message is inside as it came (message/rfc822). What a mail server could refuse or
change there is inside as a file (application/octet-stream, base64): characters beyond ASCII in the
header, NUL, lines that are too long. A part beyond MAX_ORIGINAL_BYTES is cut off.

Guarantees: whatever the returned message contains, no field and no part of the mail can be forged
by it: values are one line of printable characters, and the boundary does not occur in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from shared.smtp.content import has_longer_line, with_crlf

# mail.outbound takes records of 2 MiB, and base64 adds a third.
MAX_ORIGINAL_BYTES: Final = 1024 * 1024
MAX_VALUE_CHARS: Final = 500
_LINE_CHARS: Final = 76
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_HEADER_END: Final = b"\r\n\r\n"
_NEWLINE: Final = b"\r\n"


class Notice(Struct, frozen=True):
    """What a mail to the forwarding address says. `fields` without a value are left out."""

    sending_domain: str
    recipient: str
    message_id: str
    hop: str
    subject: str
    fields: Sequence[tuple[str, str]]
    text: Sequence[str]
    at_ms: int
    original: bytes | None = None
    report: Sequence[bytes] = ()  # the parts of a delivery report (reports.py)


def compose(notice: Notice) -> bytes:
    """Return the bytes of the mail, with CRLF line ends."""
    header = [
        _field("Date", _date(notice.at_ms // 1000)),
        _field("From", f"Returned mail <postmaster@{notice.sending_domain}>"),
        _field("To", notice.recipient),
        _field("Subject", notice.subject),
        _field("Message-ID", notice.message_id),
        # RFC 3834, 5: no machine answers it.
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


@lru_cache(maxsize=1)  # the messages of a batch have the same
def _date(at_s: int) -> str:
    return format_datetime(datetime.fromtimestamp(at_s, UTC))


def _parts(notice: Notice) -> tuple[str, Sequence[bytes]]:
    """Return the content type of the mail and the parts after its text."""
    if notice.report:
        return "multipart/report; report-type=delivery-status", notice.report
    # Cut again: bare line ends have doubled, and the record would not fit into its topic.
    original = with_crlf((notice.original or b"")[:MAX_ORIGINAL_BYTES])[:MAX_ORIGINAL_BYTES]
    return "multipart/mixed", [b"".join(_original_part(original))]


def is_cut(original: bytes) -> bool:
    """Whether the mail holds only the beginning of this message."""
    return len(original) > MAX_ORIGINAL_BYTES


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
    """Return a field of printable ASCII, folded; other characters as RFC 2047 writes them."""
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
    # Of a printable text only spaces can change, and most texts are printable.
    if value.isprintable() and "  " not in value:
        return value.strip(" ")[:MAX_VALUE_CHARS]
    return " ".join(_UNPRINTABLE.sub(" ", value).split())[:MAX_VALUE_CHARS]
