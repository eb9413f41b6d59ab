"""Searches for a pattern only in texts that contain the literals of the pattern.

The literals of a pattern are strings that each match contains. This module finds the literals of a
pattern. In a text of 200 characters, a search for an alternative of many words takes 50 to 100 µs,
and a test for its literals takes 1 µs. Therefore a pattern is split into its alternatives, and an
alternative is searched only if its literals are in the text. This module does no I/O.

This module uses Python's own pattern parser, `re._parser`. The parser is private, but it is the
same in Python 3.11 to 3.14. A construct that this module does not know has no literals, so its
pattern is always searched. For every rule, a test compares the result with that of a plain search.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Final

# Shorter literals occur in most texts. Two characters are enough for Chinese and Japanese words.
_MIN_ASCII_CHARS: Final = 3
_MIN_OTHER_CHARS: Final = 2
_MAX_LITERALS: Final = 80
_GRAM_CHARS: Final = 3
_COMMON_FIRST: Final = " etaoinsrldhcumpfgy"

_parser: Final = import_module("re._parser")
# Matches group references, named groups, conditions and flags. A pattern with such a construct is
# not split, because the construct concerns the whole pattern.
_WHOLE: Final = re.compile(r"\\[1-9]|\(\?[P(aiLmsux-]")


class _Alternative:
    """One alternative of a pattern, with sets of grams. Each match contains a gram of each set."""

    def __init__(self, source: str, flags: int, needed: Sequence[frozenset[str]]) -> None:
        self._source = source
        self._flags = flags
        self._needed = tuple(filter(None, map(_grams_of, needed)))

    @cached_property
    def search(self) -> Any:
        """Return the search function. It is compiled at first use: many patterns are never used."""
        return re.compile(self._source, self._flags).search

    def may_be_in(self, grams: frozenset[str]) -> bool:
        """Return True if a text with these grams can contain the literals of this alternative."""
        for needed in self._needed:  # noqa: SIM110 - a generator takes twice the time
            if needed.isdisjoint(grams):
                return False
        return True


class Search:
    """Searches for regular expressions, each only in a text that contains its literals."""

    __slots__ = ("_by_gram", "_by_literal", "_grams", "_others", "_without_gram", "patterns")

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self.patterns = tuple(patterns)
        self._by_literal: dict[str, list[_Alternative]] = {}
        self._by_gram: dict[str, list[_Alternative]] = {}
        self._without_gram: dict[str, list[_Alternative]] = {}
        self._others: list[Any] = []
        for pattern in patterns:
            self._add(pattern)
        self._grams = frozenset(self._by_gram)

    def _add(self, pattern: re.Pattern[str]) -> None:
        flags = pattern.flags & ~re.UNICODE
        others: list[str] = []
        for source in alternatives_of(pattern):
            found = _sets_of_literals(source, flags)
            if not found:
                others.append(source)
                continue
            best = max(found, key=_rank)
            alternative = _Alternative(source, flags, [one for one in found if one is not best])
            for literal in best:
                self._by_literal.setdefault(literal, []).append(alternative)
                gram = _gram_of(literal)
                where, key = (self._by_gram, gram) if gram else (self._without_gram, literal)
                known = where.setdefault(key, [])
                if alternative not in known:
                    known.append(alternative)
        if others:
            self._others.append(re.compile("|".join(others), flags).search)

    def is_in(self, text: str, grams: frozenset[str] | None = None) -> bool:
        """Return True if an expression matches. `grams` are the grams of the text, if known."""
        if grams is None:
            return self._is_in_text(text)
        found = self._grams & grams
        if found:
            for gram in found:
                for one in self._by_gram[gram]:
                    if one.may_be_in(grams) and one.search(text) is not None:
                        return True
        if self._without_gram and _any_found(self._without_gram, text):
            return True
        for search in self._others:  # noqa: SIM110 - a generator takes twice the time
            if search(text) is not None:
                return True
        return False

    def _is_in_text(self, text: str) -> bool:
        if _any_found(self._by_literal, text):
            return True
        return any(search(text) is not None for search in self._others)


def _any_found(by_literal: dict[str, list[_Alternative]], text: str) -> bool:
    for literal, alternatives in by_literal.items():
        if literal in text:
            for one in alternatives:
                if one.search(text) is not None:
                    return True
    return False


def grams_in(text: str) -> frozenset[str]:
    """Return all sequences of three characters in a text.

    These sequences (grams) exclude most of the 90 expressions at once. To test for each of the 700
    literals would take twice as long as all other steps.
    """
    return frozenset(map("".join, zip(text, text[1:], text[2:], strict=False)))


def _grams_of(literals: frozenset[str]) -> frozenset[str]:
    """Return the least common gram of each literal, or an empty set if a literal is too short."""
    grams = frozenset(map(_gram_of, literals))
    return frozenset() if "" in grams else grams


def _gram_of(literal: str) -> str:
    """Return the least common gram of a literal. Return "" if the literal is too short."""
    return min(_grams(literal), key=_commonness) if len(literal) >= _GRAM_CHARS else ""


def _grams(literal: str) -> list[str]:
    return [literal[at : at + _GRAM_CHARS] for at in range(len(literal) - _GRAM_CHARS + 1)]


def _commonness(gram: str) -> int:
    return sum(_COMMON_FIRST[::-1].find(char) + 1 for char in gram)


def required_literals(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Return strings of which each match contains at least one. Return () if no string is known."""
    found = _sets_of_literals(pattern.pattern, pattern.flags)
    best: frozenset[str] = max(found, key=_rank, default=frozenset())
    return tuple(sorted(best))


def _sets_of_literals(source: str, flags: int) -> list[frozenset[str]]:
    """Return sets of strings. Each match contains at least one string of every set."""
    if flags & re.IGNORECASE:
        return []
    try:
        found = _of_sequence(_parser.parse(source))
    except (AttributeError, TypeError, ValueError, IndexError):
        return []
    return [one for one in found if len(one) <= _MAX_LITERALS]


def _of_sequence(nodes: Any) -> list[frozenset[str]]:
    """Return the sets of literals of a sequence, except sets with a string that is too short."""
    candidates: list[frozenset[str]] = []
    run: list[str] = []
    for node, value in [*nodes, (None, None)]:
        if str(node) == "LITERAL":
            run.append(chr(value))
            continue
        if run:
            candidates.append(frozenset({"".join(run)}))
            run = []
        if node is not None:
            candidates += _of_node(str(node), value)
    return [one for one in candidates if one and all(map(_is_long_enough, one))]


def _best(nodes: Any) -> frozenset[str]:
    """Return the set of literals that excludes most texts. Return an empty set if there is none."""
    return max(_of_sequence(nodes), key=_rank, default=frozenset())


def _of_node(name: str, value: Any) -> list[frozenset[str]]:
    if name == "SUBPATTERN":
        return _of_sequence(value[-1])
    if name == "BRANCH":
        found = [_best(branch) for branch in value[1]]
        return [frozenset().union(*found)] if all(found) else []
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0] > 0:
        return _of_sequence(value[2])
    if name == "ATOMIC_GROUP":
        return _of_sequence(value)
    return []


def _is_long_enough(literal: str) -> bool:
    return len(literal) >= (_MIN_ASCII_CHARS if literal.isascii() else _MIN_OTHER_CHARS)


def _rank(literals: Collection[str]) -> tuple[int, int]:
    return min(map(len, literals)), -len(literals)


def alternatives_of(pattern: re.Pattern[str]) -> list[str]:
    """Split a pattern into alternatives. Together, they match the same texts as the pattern."""
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
    """Return the end of the set of characters that begins at this position."""
    at += 1
    if source.startswith("^", at):
        at += 1
    if source.startswith("]", at):  # At the beginning, "]" is a member of the set.
        at += 1
    while source[at] != "]":
        at += 2 if source[at] == "\\" else 1
    return at
