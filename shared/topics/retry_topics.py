"""The retry topics: their delays, and on which one a message waits for its earliest time. Pure.

A reader of a retry topic pauses a partition until its first record is due, so all records of a
topic must have about the same delay. A message that has to wait longer takes several hops: it stays
on a topic for that topic's delay and is then written to the next one
(docs/decisions/0012-earliest-time.md).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from shared.topics.records import Envelope

# The delay steps of the retry topics, by name, in seconds.
DELAYS_S: Final[dict[str, int]] = {
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "1h": 3600,
    "4h": 14_400,
    "12h": 43_200,
}
# A record on such a topic is due after the topic's delay plus at most this share of it, so that
# messages deferred together do not come back in one burst.
JITTER_SHARE: Final = 0.2
# The shortest wait of a record on each retry topic of turns, in seconds. The longest wait is the
# shortest of the next topic, so no record waits much longer behind others than it has to.
TURNS_S: Final[dict[str, int]] = {
    "turn-5s": 5,
    "turn-15s": 15,
    "turn-45s": 45,
    "turn-2m": 120,
    "turn-4m": 240,
    "turn-8m": 480,
    "turn-16m": 960,
    "turn-32m": 1920,
    "turn-1h": 3600,
    "turn-3h": 10_800,
    "turn-6h": 21_600,
}
RETRY_TOPICS_S: Final = DELAYS_S | TURNS_S

# If a time scale shortens the delays, no hop is shorter than this; otherwise a message would be
# rewritten continuously.
MIN_HOP_MS: Final = 50


class RetryHop(Struct, frozen=True):
    """One wait on a retry topic: its delay step, and the time of the next read in Unix ms."""

    step: str
    until_ms: int


def next_hop(not_before_ms: int, now_ms: int, time_scale: float = 1.0) -> RetryHop:
    """Select the next hop of a message that may not be attempted before `not_before_ms`.

    The hop is the longest delay that ends before the earliest time, even if earlier records on the
    topic make the message late. If the earliest time is near, the message waits on the shortest
    topic exactly until then. `time_scale` shortens the delays, as it does those of retries.
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
    """Return the envelope for this hop: due at its end, with the same earliest time."""
    return replace(envelope, due_at_ms=hop.until_ms)


def _delay_ms(step: str, time_scale: float) -> int:
    return max(int(DELAYS_S[step] * 1000 * time_scale), MIN_HOP_MS)
