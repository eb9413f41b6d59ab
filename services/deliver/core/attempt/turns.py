"""On which retry topic a message waits for its turn. Pure.

A message that was not offered comes back at a time of its own: when its site or its limit has room,
its suspension ends or a login is tried again. A reader of a retry topic pauses a partition until
its first record is due, so on the topic of a delay step such a message would wait behind real
retries, or they behind it. Turns have topics of their own (shared/topics/names.py), each for waits
of about the same length; only a turn that is as long as a delay step goes to the topic of that
step.

Guarantees: a record is written once per turn. A turn is late by at most as long as it is, if it is
between two minutes and an hour; shorter and longer ones by at most twice as long. Nothing waits for
longer on the topic of a step because of a turn. A message that expires is read before that, unless
the process is later than a quarter of the time that was left.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from services.deliver.core.attempt.retry import Retry, RetryTimes
from shared.topics.retry_topics import DELAYS_S, JITTER_SHARE, TURNS_S

# Until when a record of each topic may wait, behind others that are due later.
_LONGEST_S: Final[dict[str, float]] = {
    **{step: seconds * (1 + JITTER_SHARE) for step, seconds in DELAYS_S.items()},
    **{step: TURNS_S[following] for step, following in pairwise(TURNS_S)},
    list(TURNS_S)[-1]: DELAYS_S["12h"],
}
# A message that waits for its turn and has less time left expires.
SHORTEST_LEFT_S: Final = 10.0
# The part of the time left in which a message that expires is read.
_SAFE_SHARE: Final = 0.75


def next_turn(waits_s: float, now_ms: int, times: RetryTimes) -> Retry:
    """The next attempt of a message that was not offered, whose turn comes in `waits_s` seconds."""
    return Retry(_step_of(waits_s), now_ms + int(waits_s * 1000 * times.scale))


def next_turn_before(expires_at_ms: int, waits_s: float, now_ms: int, times: RetryTimes) -> Retry:
    """The same for a message that expires; 0: it does not.

    A turn is an estimate: a message that might expire before it comes back sooner.
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
