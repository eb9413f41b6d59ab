"""When to try again: the delay steps and their jitter. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from shared.topics.retry_topics import DELAYS_S, JITTER_SHARE

STEPS: Final[tuple[str, ...]] = tuple(DELAYS_S)


class RetryTimes(Struct, frozen=True):
    """How delays are adjusted: `in_doubt_s` is the shortest delay after an attempt in doubt.

    `scale` shortens all delays, for tests and demos; 1.0 in production.
    """

    scale: float = 1.0
    in_doubt_s: float = 600.0


class Retry(Struct, frozen=True):
    """The next attempt: the retry topic's delay step and the due time in Unix milliseconds."""

    step: str
    due_at_ms: int


def next_attempt(
    mail_id: str,
    attempts: int,
    now_ms: int,
    times: RetryTimes,
    *,
    in_doubt: bool = False,
    steps: Sequence[str] = STEPS,
) -> Retry:
    """The next attempt after `attempts` attempts; the last of the steps repeats.

    A server that has received the whole content may still deliver it; RFC 5321, 4.5.3.2.6 gives it
    10 minutes to answer: `in_doubt` selects the first step that is long enough.
    """
    step = steps[min(max(attempts, 1), len(steps)) - 1]
    if in_doubt and DELAYS_S[step] < times.in_doubt_s:
        step = next((each for each in STEPS if DELAYS_S[each] >= times.in_doubt_s), STEPS[-1])
    jitter = zlib.crc32(f"{mail_id}.{attempts}".encode()) / 0xFFFF_FFFF * JITTER_SHARE
    delay_ms = DELAYS_S[step] * 1000 * times.scale * (1 + jitter)
    return Retry(step, now_ms + int(delay_ms))
