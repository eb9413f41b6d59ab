"""How long the mail of one site takes, and when the turn of a message comes that cannot wait. Pure.

A message that is turned away gets a turn of its own, one after the other at the rate at which the
site takes mail, so that it comes back when there is room for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.deliver.core.pool.end_rate import EndRate

# The weight of one transaction in the average.
_WEIGHT: Final = 0.1
SHORTEST_TURN_S: Final = 5.0
# The rate may change: nobody waits for longer because of an estimate.
LONGEST_TURN_S: Final = 3_600.0


class Backlog:
    """The times of one site. All times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._average_s = 0.0
        self._held_up_s = 0.0
        self._ended_at = 0.0
        self._next_turn_at = 0.0
        self._rate = EndRate()

    def took(self, seconds: float, now: float) -> None:
        """A transaction has ended after this time."""
        self._ended_at = now
        self._rate.ended(now)
        self._held_up_s /= 2
        self._average_s += (seconds - self._average_s) * (_WEIGHT if self._average_s else 1.0)

    def held_up(self, pause_s: float, now: float) -> None:
        """The site pushes back: one transaction per pause, until a few others have ended."""
        self._ended_at = now
        self._held_up_s = max(self._held_up_s, pause_s)

    def each_s(self, connections: int, oldest_start: float, now: float) -> float:
        """The time from one end to the next, with so many connections.

        `oldest_start`: when the oldest transaction under way began.
        """
        seconds = max(self._average_s, self._held_up_s, now - max(oldest_start, self._ended_at))
        by_time = seconds / connections
        per_s = self._rate.per_s(now)
        # A process that has much to do notices an end late, and would take that for a slow site.
        if per_s and seconds > self._held_up_s:
            return min(by_time, 1 / per_s)
        return by_time

    def is_over(self, now: float) -> bool:
        """Whether all turns that were given have come."""
        return now >= self._next_turn_at

    def turns(
        self, count: int, first_s: float, each_s: Callable[[float], float], now: float
    ) -> list[float]:
        """In how many seconds the turns of `count` messages come.

        `first_s`: the wait before the first. `each_s`: the time from one to the next, by the time
        of the first of the two.
        """
        turns = []
        for _ in range(count):
            last_at = max(self._next_turn_at, now + first_s)
            self._next_turn_at = min(last_at + each_s(last_at), now + LONGEST_TURN_S)
            turns.append(max(SHORTEST_TURN_S, self._next_turn_at - now))
        return turns
