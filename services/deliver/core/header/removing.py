"""Removes a header field from a message before it is signed: the mailing code. Pure.

Guarantees: total; everything but the fields of that name stays byte by byte. The names of fields
have no case (RFC 5322, 2.2), and obsolete white space before the colon is allowed for (4.5.8).
"""

from __future__ import annotations

import re
from typing import Final

_HEADER_END: Final = re.compile(rb"(?:\A|\n)\r?\n")


class FieldRemover:
    """Removes the fields of one name; "" for none."""

    def __init__(self, name: str) -> None:
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
        """The content without these fields; the same object if it has none."""
        if self._pattern is None:
            return content
        found = self._pattern.search(content)
        if found is None:
            return content
        end = _HEADER_END.search(content)
        limit = end.start() + 1 if end is not None else len(content)
        if found.start() >= limit:
            return content
        return self._pattern.sub(b"", content[:limit]) + content[limit:]
