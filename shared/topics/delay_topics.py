"""Selects the retry topic on which a message waits for its earliest time, and for how long. Pure.

A reader of a retry topic pauses a partition until its first record is due, so all records of a
topic must have about the same delay. A message that has to wait longer takes several hops: it
stays on a topic for that topic's delay and is then written to the next one
(docs/decisions/0012-earliest-time.md).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.topics.names import DELAYS_S, JITTER_SHARE
from shared.topics.records import Envelope

# If a time scale shortens the delays, no hop is shorter than this; otherwise a message would be
# rewritten continuously.
MIN_HOP_MS: Final = 50


class RetryHop(Struct, frozen=True):
    """One wait on a retry topic: its delay step, and the time of the next read in Unix ms."""

    step: str
    until_ms: int


def next_hop(not_before_ms: int, now_ms: int, time_scale: float = 1.0) -> RetryHop:
    """Select the next hop of a message that may not be attempted before `not_before_ms`.

    It is the longest delay that ends before the earliest time even if the records before it make
    it late. If the earliest time is near, the message waits on the shortest topic exactly until
    then. `time_scale` shortens the delays, as it does those of retries.
    """
    remaining_ms = not_before_ms - now_ms
    shortest = next(iter(DELAYS_S))
    best = shortest
    for step in DELAYS_S:
        if _delay_ms(step, time_scale) * (1 + JITTER_SHARE) <= remaining_ms:
            best = step
    delay_ms = _delay_ms(best, time_scale)
    if best == shortest and remaining_ms < delay_ms * (1 + JITTER_SHARE):
        return RetryHop(best, not_before_ms)
    return RetryHop(best, now_ms + delay_ms)


def is_early(envelope: Envelope, now_ms: int) -> bool:
    """Whether the message may not be attempted yet."""
    return envelope.not_before_ms > now_ms


def hop_envelope(envelope: Envelope, hop: RetryHop) -> Envelope:
    """Return the envelope for this hop: not read before its end, the earliest time is kept."""
    return replace(envelope, due_at_ms=hop.until_ms)


def _delay_ms(step: str, time_scale: float) -> int:
    return max(int(DELAYS_S[step] * 1000 * time_scale), MIN_HOP_MS)
