"""Decides whether a recipient matches a client's block list of patterns with `*` and `?`. This
module does no I/O.

The characters `*` and `?` may be part of an address (RFC 5321, atext). So in a pattern, `\\*` and
`\\?` match these characters themselves. A pattern has no other backslash (file/fields.py).

Full addresses and patterns such as `*@domain` are looked up in tables. All other patterns become
one regular expression, in which the text between two stars is an atomic group. The leftmost match
of this text is always a correct choice, so the expression tries no other position. The time is at
most proportional to the length of the address times the length of the patterns. The time does not
depend on the number of stars.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from shared.registry.file.fields import has_free_wildcards

_STARS: Final = re.compile(r"(?<!\\)\*+")
_TOKENS: Final = re.compile(r"(\\[*?]|\?)")
_ANY_LOCAL_PART: Final = "*@"


class _BlockList:
    """The prepared patterns of one client. All indexes refer to the sequence `patterns`."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._addresses: dict[str, int] = {}
        self._domains: dict[str, int] = {}
        wild: list[int] = []
        for index, pattern in enumerate(patterns):
            if has_free_wildcards(pattern):
                wild.append(index)
            elif pattern.startswith(_ANY_LOCAL_PART):
                domain = pattern.removeprefix(_ANY_LOCAL_PART).lower()
                self._domains.setdefault(unescaped(domain), index)
            else:
                self._addresses.setdefault(unescaped(pattern.lower()), index)
        self._wild = tuple(wild)
        self._regex = re.compile("|".join(f"({_regex(patterns[i].lower())})" for i in wild), re.S)

    def first(self, address: str) -> int:
        """Return the index of the first pattern that matches this lower-case address, or -1."""
        _, at, domain = address.rpartition("@")
        known = self._addresses.get(address), self._domains.get(domain) if at else None
        found = [index for index in known if index is not None]
        match = self._regex.fullmatch(address) if self._wild else None
        if match is not None and match.lastindex is not None:
            found.append(self._wild[match.lastindex - 1])
        return min(found, default=-1)


def _regex(pattern: str) -> str:
    first, *others = (
        "".join("." if each == "?" else re.escape(unescaped(each)) for each in _TOKENS.split(part))
        for part in _STARS.split(pattern)
    )
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last


def unescaped(pattern: str) -> str:
    """Return the literal text that a pattern without wildcards matches."""
    return pattern.replace(r"\*", "*").replace(r"\?", "?")


@lru_cache(maxsize=4096)
def _prepared(patterns: tuple[str, ...]) -> _BlockList:
    return _BlockList(patterns)


def blocked_by(recipient: str, patterns: Sequence[str]) -> str:
    """Return the first pattern that matches this recipient, or "". Ignore the case of letters."""
    if not patterns:
        return ""
    index = _prepared(tuple(patterns)).first(recipient.lower())
    return patterns[index] if index >= 0 else ""
