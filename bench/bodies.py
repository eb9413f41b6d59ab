"""The bodies of the messages that a benchmark sends by SMTP."""

from __future__ import annotations

import random
from typing import Final

# The messages use this many different bodies in turn, because compression would reduce equal bodies
# in one record to almost nothing. Lines are not repeated within a body for the same reason.
_BODIES: Final = 16
_LINE_OCTETS: Final = 74
_HEAD_OCTETS: Final = 480  # the size of the header block that make_head returns, rounded up
_LETTERS: Final = "etaoinshrdlucmfwypvbgkjqxz"


def make_bodies(size_bytes: int) -> list[bytes]:
    """Return different bodies. A message with such a body has `size_bytes` or slightly less."""
    chance = random.Random(0)
    words = ["".join(chance.choices(_LETTERS, k=chance.randint(2, 9))) for _ in range(2_000)]
    room = max(size_bytes - _HEAD_OCTETS, _LINE_OCTETS)
    return [_text(chance, words, room) for _ in range(_BODIES)]


def _text(chance: random.Random, words: list[str], size_bytes: int) -> bytes:
    lines: list[str] = []
    for _ in range(size_bytes // _LINE_OCTETS + 1):
        lines.append(" ".join(chance.choices(words, k=20))[: _LINE_OCTETS - 2])
    return "\r\n".join(lines).encode()[: size_bytes - 2].rstrip() + b"\r\n"
