"""Formats a number together with its noun for texts that people read."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 code` or `2 codes`. Pass `plural` for a noun such as `entry`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
