"""Removes a header field from a message before it is signed: the mailing code. Pure.

Guarantees: total; everything but the fields of that name stays byte by byte. The names of fields
have no case (RFC 5322, 2.2), and obsolete white space before the colon is allowed for (4.5.8).
"""

from __future__ import annotations

import re

from shared.mail.headers import header_end


class FieldRemover:
    """Removes the fields of one name; "" for none."""

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode("ascii")
        self._pattern = (
            re.compile(
                rb"(?:\A|(?<=\n))%b[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
                % re.escape(name.encode("ascii")),
                re.IGNORECASE,
            )
            if name
            else None
        )

    def removed_from(self, content: bytes) -> bytes:
        """Return the content without these fields; the same object if it has no such field."""
        if self._pattern is None:
            return content
        end = header_end(content)
        header = content[:end]
        if self._name not in header.lower():
            return content
        left = self._pattern.sub(b"", header)
        return left + content[end:] if len(left) < end else content
