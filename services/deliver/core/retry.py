"""When to try again: the delay steps, their jitter, and the end. Pure."""

from __future__ import annotations

import zlib
from typing import Final

from msgspec import Struct

from shared.topics.names import DELAYS_S, JITTER_SHARE

STEPS: Final[tuple[str, ...]] = tuple(DELAYS_S)


class Retry(Struct, frozen=True):
    """A next attempt: the retry topic's delay step and the time it is due, Unix ms."""

    step: str
    due_at_ms: int


def next_attempt(mail_id: str, attempts: int, now_ms: int, time_scale: float) -> Retry:
    """The attempt after `attempts` have been made; the last step repeats.

    `time_scale` shortens the delays for tests and demos; 1.0 in earnest.
    """
    step = STEPS[min(max(attempts, 1), len(STEPS)) - 1]
    jitter = zlib.crc32(f"{mail_id}.{attempts}".encode()) / 0xFFFF_FFFF * JITTER_SHARE
    delay_ms = DELAYS_S[step] * 1000 * time_scale * (1 + jitter)
    return Retry(step, now_ms + int(delay_ms))
