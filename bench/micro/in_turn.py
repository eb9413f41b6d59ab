"""Measures two ways of sending in turn, in one process.

The speed of a shared machine changes within seconds. So both sides exist at the same time and send
their messages in slices, one after the other, and a change affects both. The side that begins
alternates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bench.micro.pools import WINDOW, Figure, Send, Used, send_measured

# Each side sends its messages in this number of slices. A slice must be much longer than a lease.
SLICES: Final = 10


class Side(Struct, frozen=True):
    """One way of sending. `name` is shown in the table."""

    name: str
    send: Send


async def measure_pairs(
    sides: Sequence[Side], count: int, messages: int, content: bytes
) -> list[list[Figure]]:
    """Measure `count` pairs with this number of messages; return the figures of each side."""
    pairs = [await _measure_pair(sides, messages, content) for _ in range(count)]
    return [list(figures) for figures in zip(*pairs, strict=True)]


async def _measure_pair(sides: Sequence[Side], messages: int, content: bytes) -> list[Figure]:
    used: dict[Side, list[Used]] = {side: [] for side in sides}
    count = min(SLICES, messages)
    for number in range(count):
        part = messages // count + (number < messages % count)
        for side in sides if number % 2 else reversed(sides):
            used[side].append(await send_measured(side.send, WINDOW, part, content))
    return [
        Used(sum(each.cpu_s for each in found), sum(each.seconds for each in found)).figure(
            side.name, messages
        )
        for side, found in used.items()
    ]
