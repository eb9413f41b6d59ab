"""Whether a recipient is on a client's block list: patterns with `*` and `?`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # Addresses may hold brackets, which fnmatch would read as character sets.
    return re.compile(
        "|".join(
            "(" + re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".") + ")"
            for pattern in patterns
        ),
        re.DOTALL,
    )


def blocked_by(recipient: str, patterns: Sequence[str]) -> str:
    """The pattern that blocks this recipient, "" when none does; case does not matter."""
    if not patterns:
        return ""
    match = _compiled(tuple(patterns)).fullmatch(recipient.lower())
    return patterns[match.lastindex - 1] if match and match.lastindex else ""
