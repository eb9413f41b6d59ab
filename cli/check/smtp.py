"""Notes about lines that break no rule but that the SMTP front door refuses. Pure.

Such a message is accepted from Kafka, and deliver fixes its line ends; so these are notes beside
the verdict. Owns: the words. Does not own: the line rules (shared/smtp/content.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.smtp.content import MAX_TEXT_LINE_BYTES, has_longer_line, has_only_crlf

_CRLF_BYTES = 2


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
