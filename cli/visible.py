"""Texts from outside, as a terminal may get them."""

from __future__ import annotations

from collections.abc import Iterable


def visible(text: str) -> str:
    """Return the text on one line, with what is not printable (ESC, newline, U+202E) escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def visible_names(names: Iterable[str]) -> str:
    """Return the names on one line, separated by commas; an empty one as two quotes."""
    return ", ".join(visible(each) or "''" for each in names)
