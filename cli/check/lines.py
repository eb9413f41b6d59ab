"""Finds the lines that `sluice check` shows: header lines of a broken rule, and notes. Pure.

Owns: finding the header lines that a rule concerns, with their numbers; making a client's text safe
to show; notes about faults that break no rule. Does not own: the definitions of a header and of a
broken rule (shared/mail), the rules for lines (shared/smtp/content.py). Header names are read in
the same way as in shared/mail/headers.py, so that an odd spelling is found too. scan() limits the
length of the header.

There are notes about two faults. The first fault is a missing or wrong Date header. RFC 5322, 3.6
requires a correct Date, but no rule of Sluice does. A message without a Date is sent unchanged,
because an added Date could break a signature of the client. The second fault is lines that the SMTP
front door refuses. Intake from Kafka accepts these lines, because the deliver service fixes their
line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

from shared.mail.headers import RAW_CHARS
from shared.smtp.content import MAX_TEXT_LINE_BYTES, has_longer_line, has_only_crlf

_ANY_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_NOT_IN_NAMES: Final = bytes({*range(256)} - {*range(0x21, 0x7F)})
_CODE_RULE: Final = "R8"
# R9 to R11 compare the envelope sender with From, or use From alone.
_HEADERS: Final[dict[str, tuple[bytes, ...]]] = {
    "R2": (b"message-id",),
    "R3": (b"to",),
    "R4": (b"from",),
    "R5": (b"cc", b"bcc"),
    "R6": (b"subject",),
    "R7": (b"reply-to",),
    "R9": (b"from",),
    "R10": (b"from",),
    "R11": (b"from",),
    "R12": (b"return-path",),
}
_NOT_ALLOWED: Final = frozenset({"R5", "R12"})
_NAME: Final = b"date"
_CONSEQUENCE: Final = "it is sent unchanged, and receivers may treat it as spam"
_CRLF_BYTES = 2


class HeaderLine(Struct, frozen=True):
    """One unfolded header; `number` is the number of the header's first line, from 1."""

    number: int
    name: bytes
    text: str  # Cut to RAW_CHARS.


def header_lines(head: bytes) -> list[HeaderLine]:
    """Return the headers in `head`, the bytes of a message up to the end of its header."""
    return [
        HeaderLine(number, name.translate(None, _NOT_IN_NAMES).lower(), _cut(octets))
        for number, octets in _unfolded(head)
        for name in [octets.partition(b":")[0]]
    ]


def lines_meant(rule: str, lines: list[HeaderLine], code_header: bytes) -> list[HeaderLine]:
    """Return the lines that this rule concerns; empty for R1, or if the header is missing."""
    names = (code_header,) if rule == _CODE_RULE else _HEADERS.get(rule, ())
    return [line for line in lines if line.name in names]


def line_to_fix(rule: str, meant: list[HeaderLine]) -> str:
    """Return the text of the line to fix; "" if there is none.

    If a header is doubled, the second line is the line to fix.
    """
    if not meant:
        return ""
    one_too_many = len(meant) > 1 and rule not in _NOT_ALLOWED
    return meant[1 if one_too_many else 0].text


def printable(text: str) -> str:
    """Return the text with unprintable characters escaped; a tab becomes a space."""
    return "".join(
        letter if letter.isprintable() else " " if letter == "\t" else repr(letter)[1:-1]
        for letter in text
    )


def _unfolded(head: bytes) -> Iterator[tuple[int, bytes]]:
    begin, parts = 0, list[bytes]()
    for number, line in enumerate(_ANY_LINE_END.split(head), 1):
        if line[:1] in (b" ", b"\t") and parts:
            parts.append(line)
        elif line:
            if parts:
                yield begin, b"".join(parts)
            begin, parts = number, [line]
    if parts:
        yield begin, b"".join(parts)


def _cut(octets: bytes) -> str:
    text = octets[: 4 * RAW_CHARS].decode("utf-8", "backslashreplace").rstrip()
    whole = len(octets) <= 4 * RAW_CHARS and len(text) <= RAW_CHARS
    return text if whole else text[: RAW_CHARS - 1] + "…"


def notes_for_date(lines: Sequence[HeaderLine]) -> Iterator[str]:
    """Yield a note if the Date of a message is missing or wrong; `lines` are its header lines."""
    found = [line.text.partition(":")[2].strip() for line in lines if line.name == _NAME]
    if not found:
        yield (
            f"no Date header (RFC 5322, 3.6 requires it): {_CONSEQUENCE}; add the time at which"
            " the message was completed, before you sign it"
        )
    elif len(found) > 1:
        yield f"{len(found)} Date headers (RFC 5322, 3.6 allows one): {_CONSEQUENCE}; keep one"
    elif not _is_date(found[0]):
        yield (
            f"the Date '{printable(found[0])}' is not a date (RFC 5322, 3.3): {_CONSEQUENCE};"
            " write it as in Thu, 24 Dec 2026 08:00:00 +0100"
        )


def _is_date(text: str) -> bool:
    try:
        parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return False
    return True


def notes_for_smtp(content: bytes, first_line: int = 1) -> Iterator[str]:
    """Yield the reasons why the front door would refuse these bytes, although they break no rule.

    If all lines end with LF, no reason is returned for this, because an SMTP client sends CRLF
    instead.
    """
    if b"\r" in content and not has_only_crlf(content):
        yield (
            "by SMTP it is refused (550 5.6.0): not every line ends with CRLF; write one kind of"
            " line end throughout"
        )
    found = _longest_line(content)
    if found is not None:
        number, size_bytes = found
        yield (
            f"by SMTP it is refused (550 5.6.0): line {first_line - 1 + number} has {size_bytes}"
            f" octets, {MAX_TEXT_LINE_BYTES - _CRLF_BYTES} are allowed (RFC 5321, 4.5.3.1.6);"
            " fold a header, encode text as quoted-printable or base64"
        )


def _longest_line(content: bytes) -> tuple[int, int] | None:
    """Return the number (from 1) and the length in octets of the first line that is too long."""
    if not has_longer_line(content, MAX_TEXT_LINE_BYTES - 1):
        return None
    most = MAX_TEXT_LINE_BYTES - _CRLF_BYTES
    for number, line in enumerate(content.split(b"\n"), 1):
        size_bytes = len(line.removesuffix(b"\r"))
        if size_bytes > most:
            return number, size_bytes
    return None
