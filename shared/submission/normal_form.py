"""Converts a message to its normal form: every line, including the last, ends with CRLF. Pure.

The same message may arrive with LF by Kafka and with CRLF by SMTP, where the last line always has a
line end; deliver always sends CRLF. So the message is measured (R1), compared with others of its
key and passed on in one form. Owns: the order of scan and conversion. Does not own: the form
(shared/smtp/content.py).

The original bytes are scanned first: a bare CR or mixed line ends in a header are a defect
(headers.py), which the conversion would hide. A message with a defect keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.smtp.content import with_crlf
from shared.topics.records import Facts


def scan_normal_form(content: bytes, scan: Callable[[bytes], Facts]) -> tuple[Facts, bytes]:
    """Return the facts of the message in its normal form, and that form."""
    facts = scan(content)
    if facts.defect:
        return facts, content
    normal = with_crlf(content)
    return (facts, content) if normal is content else (scan(normal), normal)
