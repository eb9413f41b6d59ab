"""The number and the noun of a sentence for people."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 code`, `2 codes`; `plural` for nouns that do not take an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
