"""Notes about the Date header: RFC 5322, 3.6 requires one, and no rule of Sluice does. Pure.

Such a message is accepted and sent as it is: a Date added later may break a signature of the
client. So these are notes beside the verdict. Owns: the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from cli.check.lines import HeaderLine, printable

_NAME: Final = b"date"
_CONSEQUENCE: Final = "it is sent so, and receivers may treat it as spam"


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
