"""A message in its normal form: CRLF ends each line, the last one too. Pure.

The same message comes with LF by Kafka and with CRLF by SMTP, where it always ends a line; deliver
sends CRLF in any case. So it is measured (R1), compared with others of its key and carried in one
form. Owns: the order of scan and change. Does not own: the form (shared/smtp/content.py).

The bytes are scanned as they came first: a bare CR or mixed line ends in a header are a defect
(headers.py), which the change would hide. A message with a defect keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.smtp.content import with_crlf
from shared.topics.records import Facts


def scan_normal_form(content: bytes, scan: Callable[[bytes], Facts]) -> tuple[Facts, bytes]:
    """The facts of a message in its normal form, and that form."""
    facts = scan(content)
    if facts.defect:
        return facts, content
    normal = with_crlf(content)
    return (facts, content) if normal is content else (scan(normal), normal)
