"""Chooses the retry topic on which a message waits for its earliest time. This module also owns the
delays of the retry topics, and does no I/O.

A reader of a retry topic pauses a partition until the partition's first record is due. So all
records of a topic must have about the same delay. A message that must wait longer makes several
hops. In each hop, the message waits on a topic for the delay of this topic, and is then written to
the next topic (docs/decisions/0012-earliest-time.md).
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
# A record on a retry topic is due after the delay of the topic, plus at most this share of the
# delay. So messages that were deferred at the same time do not become due at the same time.
JITTER_SHARE: Final = 0.2
# On these retry topics, messages wait until a limit allows them. Each value is the shortest wait of
# a record on the topic, in seconds. The longest wait on a topic is the shortest wait on the next
# topic. So no record must wait much longer because of the records before it.
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

# A time scale may shorten the delays, but no hop is shorter than this time. Otherwise a message
# would be written again continuously.
MIN_HOP_MS: Final = 50


class RetryHop(Struct, frozen=True):
    """One wait on a retry topic: the delay step of the topic, and the time of the next read in Unix
    milliseconds."""

    step: str
    until_ms: int


def next_hop(not_before_ms: int, now_ms: int, time_scale: float = 1.0) -> RetryHop:
    """Return the next hop of a message for which no attempt may begin before `not_before_ms`.

    The hop is on the topic with the longest delay that ends before the earliest time, even if
    earlier records on the topic delay the message. If the earliest time is near, the message waits
    on the topic with the shortest delay, exactly until the earliest time. `time_scale` shortens
    these delays, as it shortens the delays of retries.
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
    """Return True if no attempt may begin for this message yet."""
    return envelope.not_before_ms > now_ms


def hop_envelope(envelope: Envelope, hop: RetryHop) -> Envelope:
    """Return the envelope for this hop. The message is due at the end of the hop. Its earliest time
    is unchanged."""
    return replace(envelope, due_at_ms=hop.until_ms)


def _delay_ms(step: str, time_scale: float) -> int:
    return max(int(DELAYS_S[step] * 1000 * time_scale), MIN_HOP_MS)
