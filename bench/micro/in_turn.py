"""Measures two ways of sending in turn, in one process.

The speed of a shared machine changes within seconds. So both sides exist at the same time and send
their messages in slices, one after the other, and a change affects both. The side that begins
alternates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bench.micro.pools import WINDOW, Figure, Send, cpu_s, envelopes, send_all

# Each side sends its messages in this number of slices. A slice must be much longer than a lease.
SLICES: Final = 10


class Side(Struct, frozen=True):
    """One way of sending. `name` is shown in the table."""

    name: str
    send: Send


class _Used(Struct):
    """The resources that the slices of one side have used so far."""

    side: Side
    cpu_s: float = 0.0
    seconds: float = 0.0

    async def slice(self, messages: int, content: bytes) -> None:
        """Send and measure this number of messages."""
        warm_up, measured_ones = envelopes(WINDOW), envelopes(messages)
        await send_all(self.side.send, warm_up, content)
        cpu, began = cpu_s(), time.perf_counter()
        await send_all(self.side.send, measured_ones, content)
        self.cpu_s += cpu_s() - cpu
        self.seconds += time.perf_counter() - began

    def figure(self, messages: int) -> Figure:
        """Return the cost of a message."""
        cpu_us = round(self.cpu_s / messages * 1e6, 1)
        return Figure(self.side.name, cpu_us, round(messages / self.seconds))


async def measure_pair(sides: Sequence[Side], messages: int, content: bytes) -> list[Figure]:
    """Send this number of messages with each side, and return one figure for each side."""
    used = [_Used(side) for side in sides]
    count = min(SLICES, messages)
    for number in range(count):
        part = messages // count + (number < messages % count)
        for each in used if number % 2 else reversed(used):
            await each.slice(part, content)
    return [each.figure(messages) for each in used]
