"""Changes to bytes regardless of their meaning: flips, cuts, repetitions, combinations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MAX_BYTES: Final = 4_096  # generated inputs are far smaller; mutations must not accumulate
# Byte sequences that mail parsers often mishandle.
HAZARDS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"@", b".", b"<", b">", b"("),
    *(b")", b'"', b"\\", b"[", b"]", b"=?", b"?=", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\x1b"),
    *(b"\r\n ", b"\r\n\r\n", b"\n.\n", b"\r\n.\r\n", b"\xe2\x80\x8b", b"\xef\xbc\xa0", b"\x7f"),
)


def _flip(data: bytearray, random: Random) -> None:
    data[random.randrange(len(data))] = random.randrange(256)


def _insert(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.choice(HAZARDS)


def _replace(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    data[at : at + random.randrange(1, 4)] = random.choice(HAZARDS)


def _cut(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.choice((1, 1, 2, 8, 64))]


def _double(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    part = data[at : at + random.choice((1, 4, 32))]
    data[at:at] = part * random.choice((1, 1, 1, 20))


def _swap_case(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    data[at : at + 12] = data[at : at + 12].swapcase()


_CHANGES: Final[tuple[Callable[[bytearray, Random], None], ...]] = (
    _flip,
    _insert,
    _insert,
    _replace,
    _cut,
    _double,
    _swap_case,
)


def mutate(data: bytes, random: Random) -> bytes:
    """Return the data with one to four changes."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        if changed:
            random.choice(_CHANGES)(changed, random)
    return bytes(changed[:MAX_BYTES])


def graft(data: bytes, corpus: Sequence[bytes], random: Random) -> bytes:
    """Return the start of the data with the end of another input."""
    other = random.choice(corpus)
    at, into = random.randrange(len(data) + 1), random.randrange(len(other) + 1)
    return (data[:at] + other[into:])[:MAX_BYTES]
