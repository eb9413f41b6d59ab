"""The header of records that are written in a transaction to a topic that others write to without.

Readers must not act on such a record before its transaction has committed. The others need not wait
for that: shared/stream/prompt_reader.py. A record of an earlier version lacks the header.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

IN_TRANSACTION: Final = ("tx", b"1")


def is_in_transaction(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record with these headers was written in a transaction."""
    return any(name == IN_TRANSACTION[0] for name, _ in headers)
