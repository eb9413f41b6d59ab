"""Decides when a message is tried again, and on which retry topic it waits until then. Pure.

After a failed attempt a message waits for the time of its next delay step, plus the jitter of this
message. A message that was not offered to a server waits for its turn instead. The turn comes when
its site or its limit has room, its suspension ends, or the login is tried again. The reader of a
retry topic pauses a partition until the first record in that partition is due. So all records on
one topic must have waits of about the same length, and turns have their own topics
(shared/topics/names.py). If turns were on the topic of a delay step, turns and real retries would
wait behind each other. Only a turn that is as long as a delay step is written to the topic of that
step.

Guarantees: a record is written once per turn. A turn between two minutes and an hour is late by at
most its own length; a shorter or longer turn is late by at most twice its length. A turn never
delays a retry on the topic of a delay step. A message with an expiry time is read before that time,
unless the process is late by more than a quarter of the time that remained when the record was
written.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from shared.topics.retry_topics import DELAYS_S, JITTER_SHARE, TURNS_S

STEPS: Final[tuple[str, ...]] = tuple(DELAYS_S)
# Maps each topic to the longest time for which a record may wait behind records that are due later.
_LONGEST_S: Final[dict[str, float]] = {
    **{step: seconds * (1 + JITTER_SHARE) for step, seconds in DELAYS_S.items()},
    **{step: TURNS_S[following] for step, following in pairwise(TURNS_S)},
    list(TURNS_S)[-1]: DELAYS_S["12h"],
}
# A message that expires within this time does not get an earlier turn.
SHORTEST_LEFT_S: Final = 10.0
# A message with an expiry time is read again before this part of its remaining time has passed.
_SAFE_SHARE: Final = 0.75


class RetryTimes(Struct, frozen=True):
    """The settings of the delays. `in_doubt_s` is the shortest delay after an attempt in doubt.

    `scale` shortens all delays for tests and demos; it is 1.0 in production.
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
    """Return the next attempt after `attempts` attempts. The last delay step is used repeatedly.

    A server that has received the whole content may still deliver it; RFC 5321, 4.5.3.2.6 gives the
    server 10 minutes to answer. So after an attempt in doubt, the first step of at least
    `in_doubt_s` is used.
    """
    step = steps[min(max(attempts, 1), len(steps)) - 1]
    if in_doubt and DELAYS_S[step] < times.in_doubt_s:
        step = next((each for each in STEPS if DELAYS_S[each] >= times.in_doubt_s), STEPS[-1])
    jitter = zlib.crc32(f"{mail_id}.{attempts}".encode()) / 0xFFFF_FFFF * JITTER_SHARE
    delay_ms = DELAYS_S[step] * 1000 * times.scale * (1 + jitter)
    return Retry(step, now_ms + int(delay_ms))


def next_turn(waits_s: float, now_ms: int, times: RetryTimes) -> Retry:
    """Return the next attempt of a message that was not offered and waits `waits_s` seconds."""
    return Retry(_step_of(waits_s), now_ms + int(waits_s * 1000 * times.scale))


def next_turn_before(expires_at_ms: int, waits_s: float, now_ms: int, times: RetryTimes) -> Retry:
    """Return the next attempt of a message that was not offered and has an expiry time.

    If `expires_at_ms` is 0, the message never expires.

    A turn is an estimate, so a message that might expire before its turn is read earlier.
    """
    left_s = (expires_at_ms - now_ms) / 1000
    safe_s = left_s * _SAFE_SHARE
    if left_s <= SHORTEST_LEFT_S or _LONGEST_S[_step_of(waits_s)] <= safe_s:
        return next_turn(waits_s, now_ms, times)
    in_time = [step for step in TURNS_S if _LONGEST_S[step] <= safe_s]
    step = in_time[-1] if in_time else next(iter(TURNS_S))
    sooner_s = min(waits_s, left_s / 2, _LONGEST_S[step])
    return Retry(step, now_ms + int(sooner_s * 1000 * times.scale))


def _step_of(waits_s: float) -> str:
    for step, seconds in DELAYS_S.items():
        if seconds <= waits_s <= _LONGEST_S[step]:
            return step
    shorter = [step for step, seconds in TURNS_S.items() if seconds <= waits_s]
    return shorter[-1] if shorter else next(iter(TURNS_S))
