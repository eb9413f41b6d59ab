"""Literals without which a regular expression cannot match, to skip most searches. Pure.

Owns: reading them from the pattern. A search for an alternative of many words takes 50 to 100 µs
in a text of 200 characters, a look for their literals one. Uses Python's own parser of patterns
(`re._parser`, private; the same in 3.11 to 3.14): whatever it does not know gives no literals, and
then the expression is searched as before. A test compares both ways for every rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

# Shorter ones occur in most texts; Chinese and Japanese words have two characters.
_MIN_ASCII_CHARS: Final = 3
_MIN_OTHER_CHARS: Final = 2
_MAX_LITERALS: Final = 80
_GRAM_CHARS: Final = 3
_COMMON_FIRST: Final = " etaoinsrldhcumpfgy"

_parser: Final = import_module("re._parser")


class Search:
    """Regular expressions of which each is searched only in texts that hold one of its literals."""

    __slots__ = ("_guarded", "patterns")

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self.patterns = tuple(patterns)
        self._guarded = [
            (literals, _grams_of(literals), one.search)
            for one, literals in zip(patterns, map(required_literals, patterns), strict=True)
        ]

    def is_in(self, text: str, grams: frozenset[str] | None = None) -> bool:
        """Whether one of the expressions matches somewhere in the text with these grams."""
        for literals, needed, search in self._guarded:
            if grams is not None and needed and needed.isdisjoint(grams):
                continue
            if not literals:
                if search(text) is not None:
                    return True
                continue
            for literal in literals:
                if literal in text:
                    if search(text) is not None:
                        return True
                    break
        return False


def grams_in(text: str) -> frozenset[str]:
    """Every three characters that follow one another in a text.

    One look at them says of most of the 90 expressions that none of their literals is there; to
    look for the 700 literals one by one takes twice the time of all that remains.
    """
    return frozenset(map("".join, zip(text, text[1:], text[2:], strict=False)))


def _grams_of(literals: Sequence[str]) -> frozenset[str]:
    """A gram of each literal, the least common one; none if a literal is too short."""
    if not literals or min(map(len, literals)) < _GRAM_CHARS:
        return frozenset()
    return frozenset(min(_grams(literal), key=_commonness) for literal in literals)


def _grams(literal: str) -> list[str]:
    return [literal[at : at + _GRAM_CHARS] for at in range(len(literal) - _GRAM_CHARS + 1)]


def _commonness(gram: str) -> int:
    return sum(_COMMON_FIRST[::-1].find(char) + 1 for char in gram)


def required_literals(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Strings of which each match holds at least one; () if none are known."""
    if pattern.flags & re.IGNORECASE:
        return ()
    try:
        found = _of_sequence(_parser.parse(pattern.pattern))
    except (AttributeError, TypeError, ValueError, IndexError):
        return ()
    return tuple(sorted(found)) if found and len(found) <= _MAX_LITERALS else ()


def _of_sequence(nodes: Any) -> frozenset[str]:
    """The most telling alternatives among the parts of a sequence."""
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
            candidates.append(_of_node(str(node), value))
    usable = [one for one in candidates if one and all(map(_is_telling, one))]
    return max(usable, key=_rank) if usable else frozenset()


def _of_node(name: str, value: Any) -> frozenset[str]:
    if name == "SUBPATTERN":
        return _of_sequence(value[-1])
    if name == "BRANCH":
        found = [_of_sequence(branch) for branch in value[1]]
        return frozenset().union(*found) if all(found) else frozenset()
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0] > 0:
        return _of_sequence(value[2])
    if name == "ATOMIC_GROUP":
        return _of_sequence(value)
    return frozenset()


def _is_telling(literal: str) -> bool:
    return len(literal) >= (_MIN_ASCII_CHARS if literal.isascii() else _MIN_OTHER_CHARS)


def _rank(literals: Sequence[str] | frozenset[str]) -> tuple[int, int]:
    return min(map(len, literals)), -len(literals)
