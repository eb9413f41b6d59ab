"""Takes a regular expression apart into the alternatives of its outermost level. Pure.

Each alternative has literals of its own (literals.py), and few of them are in a text. A pattern
stays whole where that would change its meaning: if it refers to a group, or sets flags.
"""

from __future__ import annotations

import re
from typing import Final

# References to groups, named groups, conditions and flags concern the whole pattern.
_WHOLE: Final = re.compile(r"\\[1-9]|\(\?[P(aiLmsux-]")


def alternatives_of(pattern: re.Pattern[str]) -> list[str]:
    """The alternatives: the pattern matches a text if, and only if, one of them does."""
    source = pattern.pattern
    if pattern.flags & re.VERBOSE or _WHOLE.search(source):
        return [source]
    found, start, depth, at = [], 0, 0, 0
    while at < len(source):
        char = source[at]
        if char == "\\":
            at += 1
        elif char == "[":
            at = _end_of_set(source, at)
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            found.append(source[start:at])
            start = at + 1
        at += 1
    return [*found, source[start:]]


def _end_of_set(source: str, at: int) -> int:
    """Where the set of characters that begins here ends."""
    at += 1
    if source.startswith("^", at):
        at += 1
    if source.startswith("]", at):  # at the beginning it is a member
        at += 1
    while source[at] != "]":
        at += 2 if source[at] == "\\" else 1
    return at
