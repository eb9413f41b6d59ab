"""Where the parts of statements and checkpoints are kept while they are read.

PartFile (edge/sorting/disk.py) in production: they may be many.
"""

from __future__ import annotations

from typing import Protocol


class KeepsParts(Protocol):
    """Keeps parts for as long as somebody holds it."""

    def add(self, part: bytes) -> int:
        """Keep a part; return its number."""
        ...

    def get(self, number: int) -> bytes:
        """The part with this number. Any thread may ask."""
        ...


class PartsInMemory:
    """Keeps the parts in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> int:
        """Keep a part; return its number."""
        self._parts.append(part)
        return len(self._parts) - 1

    def get(self, number: int) -> bytes:
        """The part with this number."""
        return self._parts[number]
