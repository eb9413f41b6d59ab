"""Notes of `sluice check` about what breaks no rule: the Date header, line ends and lengths. Pure.

Date: RFC 5322, 3.6 requires one, and no rule of Sluice does. Such a message is accepted and sent as
it is: a Date added later may break a signature of the client.

Lines that the SMTP front door refuses: such a message is accepted from Kafka, and deliver fixes its
line ends.

So these are notes beside the verdict. Owns: the words. Does not own: the line rules
(shared/smtp/content.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from cli.check.lines import HeaderLine, printable
from shared.smtp.content import MAX_TEXT_LINE_BYTES, has_longer_line, has_only_crlf

_NAME: Final = b"date"
_CONSEQUENCE: Final = "it is sent so, and receivers may treat it as spam"
_CRLF_BYTES = 2


def notes_for_date(lines: Sequence[HeaderLine]) -> Iterator[str]:
    """The fault of the Date of a message, from the lines of its header."""
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
            f"the Date '{printable(found[0])}' is no date (RFC 5322, 3.3): {_CONSEQUENCE}; write it"
            " as in Thu, 24 Dec 2026 08:00:00 +0100"
        )


def _is_date(text: str) -> bool:
    try:
        parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return False
    return True


def notes_for_smtp(content: bytes, first_line: int = 1) -> Iterator[str]:
    """Why the front door would refuse these bytes though they break no rule.

    Lines that all end with LF are no reason: what hands them over by SMTP writes CRLF.
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
    """The first line that is too long: its number from 1, and its octets without its end."""
    if not has_longer_line(content, MAX_TEXT_LINE_BYTES - 1):
        return None
    most = MAX_TEXT_LINE_BYTES - _CRLF_BYTES
    for number, line in enumerate(content.split(b"\n"), 1):
        size_bytes = len(line.removesuffix(b"\r"))
        if size_bytes > most:
            return number, size_bytes
    return None
