"""Formats a number together with its noun for texts that people read."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 code` or `2 codes`; `plural` is for nouns whose plural does not end in s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
