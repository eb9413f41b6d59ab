"""Measures how long the mail of one site takes. Decides when deferred mail comes back.

A message that is turned away gets its own turn, which is the time at which the message comes back.
The turns follow each other at the rate at which the site accepts mail, so that each message comes
back when there is room for it.

The rate is the number of the site's transactions that ended per second in the last few seconds.
This rate is only an estimate, because few transactions are counted. A message that has a turn
cannot be sent earlier, because it waits in Kafka. So no turn is much longer than the time for which
the site has already been slow (docs/decisions/0275-first-turns.md). A site counts as slow from the
first message that is turned away until SLOW_AGAIN_S after the last turn. Between the turns the site
has no mail, so it is not known whether the site is still slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# The rate is measured over the last one to two windows of this length.
WINDOW_S: Final = 2.0
# A rate that is measured over a shorter time than this is not meaningful.
_SHORTEST_S: Final = 0.5


class EndRate:
    """The rate at which one site's transactions end. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._first_at = 0.0  # the end of the first transaction after a quiet time
        self._window_at = 0.0
        self._before = 0
        self._count = 0

    def ended(self, now: float) -> None:
        """Record that a transaction has ended."""
        self._move_on(now)
        if not self._before and not self._count:
            self._first_at = self._window_at = now
        self._count += 1

    def per_s(self, now: float) -> float:
        """Return how many transactions end per second; 0.0 if no rate has been measured yet."""
        self._move_on(now)
        seconds = min(now - self._first_at, now - self._window_at + WINDOW_S)
        return (self._before + self._count) / seconds if seconds >= _SHORTEST_S else 0.0

    def _move_on(self, now: float) -> None:
        windows = int((now - self._window_at) / WINDOW_S)
        if windows:
            self._before = self._count if windows == 1 else 0
            self._count = 0
            self._window_at += windows * WINDOW_S


# The weight of one transaction in the moving average of the durations.
_WEIGHT: Final = 0.1
SHORTEST_TURN_S: Final = 5.0
# The longest turn of a site is the time for which the site has been slow, but at least
# FIRST_LONGEST_TURN_S and at most LONGEST_TURN_S.
FIRST_LONGEST_TURN_S: Final = 60.0
LONGEST_TURN_S: Final = 3_600.0
# A site counts as slow for this time after its last turn. A message may come back late. The message
# then waits again before the process notices that the site is slow.
SLOW_AGAIN_S: Final = 60.0


class Backlog:
    """The transaction times and turns of one site. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._average_s = 0.0
        self._held_up_s = 0.0
        self._ended_at = 0.0
        self._next_turn_at = float("-inf")
        self._slow_since = 0.0
        self._rate = EndRate()

    def took(self, seconds: float, now: float) -> None:
        """Record that a transaction ended and how long it took."""
        self._ended_at = now
        self._rate.ended(now)
        self._held_up_s /= 2
        self._average_s += (seconds - self._average_s) * (_WEIGHT if self._average_s else 1.0)

    def held_up(self, pause_s: float, now: float) -> None:
        """Record a push back. Until a few more transactions have ended, expect one per pause."""
        self._ended_at = now
        self._held_up_s = max(self._held_up_s, pause_s)

    def each_s(self, connections: int, oldest_start: float, now: float) -> float:
        """Return the time between the ends of two transactions with this number of connections.

        `oldest_start` is the time at which the oldest transaction that still runs began.
        """
        seconds = max(self._average_s, self._held_up_s, now - max(oldest_start, self._ended_at))
        by_time = seconds / connections
        per_s = self._rate.per_s(now)
        # A busy process notices the end of a transaction late. Without the rate, the process would
        # consider the site slow.
        if per_s and seconds > self._held_up_s:
            return min(by_time, 1 / per_s)
        return by_time

    def is_over(self, now: float) -> bool:
        """Return whether all turns have passed and the site no longer counts as slow."""
        return now >= self._next_turn_at + SLOW_AGAIN_S

    def turns(
        self, count: int, first_s: float, each_s: Callable[[float], float], now: float
    ) -> list[float]:
        """Return the seconds until the turn of each of `count` messages.

        `first_s` is the wait before the first turn. `each_s` is a function that returns the time
        between two turns; its argument is the time of the earlier turn. If the last turn would be
        later than the longest turn allows, the turns are closer together.
        """
        if not count:
            return []
        if self.is_over(now):
            self._slow_since = now
        slow_s = now - self._slow_since
        last_of_all = now + min(max(slow_s, FIRST_LONGEST_TURN_S), LONGEST_TURN_S)
        widest_s = max(0.0, last_of_all - max(self._next_turn_at, now + first_s)) / count
        turns = []
        for _ in range(count):
            last_at = max(self._next_turn_at, now + first_s)
            self._next_turn_at = min(last_at + min(each_s(last_at), widest_s), last_of_all)
            turns.append(max(SHORTEST_TURN_S, self._next_turn_at - now))
        return turns
