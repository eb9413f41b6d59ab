"""On which retry topic a message waits for its earliest time, and how long there. Pure.

A reader of a retry topic pauses a partition until its head is due, so everything on one topic
must be due about equally long after it was written. A message that has to wait longer is handed
round: it stays on a topic for that topic's delay and is then written to the next one
(docs/decisions/0012-earliest-time.md).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.topics.names import DELAYS_S, JITTER_SHARE
from shared.topics.records import Envelope

# Where a scale shortens the delays, no stay is shorter than this: a copy must not chase itself.
MIN_HOP_MS: Final = 50


class RetryHop(Struct, frozen=True):
    """A stay on a retry topic: its delay step, and when the message is read again, Unix ms."""

    step: str
    until_ms: int


def next_hop(earliest_ms: int, now_ms: int, time_scale: float = 1.0) -> RetryHop:
    """Where a message that may not be attempted before `earliest_ms` stays next.

    The longest delay that, even when the heads before it make it late, ends before the earliest
    time; on the shortest topic just until that time, where it is near. `time_scale` shortens the
    delays as it does those of the retries.
    """
    remaining_ms = earliest_ms - now_ms
    shortest = next(iter(DELAYS_S))
    best = shortest
    for step in DELAYS_S:
        if _delay_ms(step, time_scale) * (1 + JITTER_SHARE) <= remaining_ms:
            best = step
    delay_ms = _delay_ms(best, time_scale)
    if best == shortest and remaining_ms < delay_ms * (1 + JITTER_SHARE):
        return RetryHop(best, earliest_ms)
    return RetryHop(best, now_ms + delay_ms)


def is_early(envelope: Envelope, now_ms: int) -> bool:
    """Whether the message may not be attempted yet."""
    return envelope.earliest_ms > now_ms


def hop_envelope(envelope: Envelope, hop: RetryHop) -> Envelope:
    """The envelope for its stay: not read before the stay's end, its earliest time kept."""
    return replace(envelope, not_before_ms=hop.until_ms)


def _delay_ms(step: str, time_scale: float) -> int:
    return max(int(DELAYS_S[step] * 1000 * time_scale), MIN_HOP_MS)
