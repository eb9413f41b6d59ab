"""Decides when each message that a limit turned away comes back. Pure.

Messages come back one by one, more slowly than the limit allows.

A message that comes back and finds no room is written to Kafka again, so the rate of turns must not
be higher than the rate at which mail is actually sent. A limit is not always used up: if a process
is busy with other work, the part of the limit that it does not use in time is lost. The yield is
the part of the limit that was used while mail waited, and the rate of turns follows the yield. New
mail may use the rest (Allowance.is_full).

The yield of a limit may be low because another limit delays the same mail. Such a yield says
nothing about other mail under this limit, so it counts as at least LEAST_YIELD. Any other yield
counts as at least LEAST_SURE_YIELD. A second in which nothing was sent does not show at which rate
a site accepts mail. So such seconds are measured together with the next second in which something
was sent. If another limit delayed mail in any of these seconds, that limit may be the reason for
the low yield in all of these seconds.

Owns: the turns of one limit in one worker, the measured yield. Does not own: the limit
(allowance.py). Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Final

SHORTEST_TURN_S: Final = 5.0
LONGEST_TURN_S: Final = 43_200.0
# The rate of turns is this part of the rate at which mail is sent.
MARGIN: Final = 0.97
# FIRST_YIELD is used before the first measurement. The yield is never less than LEAST_YIELD if
# another limit delays the same mail, and never less than LEAST_SURE_YIELD otherwise.
FIRST_YIELD: Final = 0.4
LEAST_YIELD: Final = 0.8
LEAST_SURE_YIELD: Final = 0.2
# The weight of one measurement in the moving average. The first measurements have equal weights.
_WEIGHT: Final = 0.1


class Turns:
    """The turns of one limit, and the share of the limit that is really used."""

    __slots__ = (
        "_had_waiting",
        "_is_sure",
        "_looked_at",
        "_looks",
        "_used",
        "first_at",
        "next_at",
        "part",
    )

    def __init__(self, part: float = FIRST_YIELD) -> None:
        """`part` is the yield before the first measurement."""
        self.first_at = self.next_at = float("-inf")
        self.part = part
        self._used = 0.0
        self._looked_at = float("-inf")
        self._had_waiting = False
        self._is_sure = True  # `is_sure` for all seconds that are measured together
        self._looks = 0

    def used(self, amount: float) -> None:
        """Record that this amount of the limit was spent."""
        self._used += amount

    def look(self, now: float, per_s: float, *, has_waiting: bool, is_sure: bool = True) -> None:
        """Measure the yield since the last look.

        `per_s` is the rate that this worker was allowed to use.

        `is_sure` is True if no other limit has delayed mail under this limit since the last call.
        """
        seconds, used = now - self._looked_at, self._used
        counts = self._had_waiting and has_waiting and 0 < seconds < SHORTEST_TURN_S
        self._is_sure = self._is_sure and is_sure
        if counts and not used:
            return
        if counts:
            least = LEAST_SURE_YIELD if self._is_sure else LEAST_YIELD
            yielded = min(1.0, max(least, used / (per_s * seconds)))
            self._looks += 1
            self.part += (yielded - self.part) * max(_WEIGHT, 1 / self._looks)
        self._looked_at, self._used, self._had_waiting = now, 0.0, has_waiting
        self._is_sure = True

    def are_open(self, now: float) -> bool:
        """Return whether mail that was turned away still has to come back."""
        return now < self.next_at

    def next_s(self, now: float, first_at: float, per_s: float) -> float:
        """Return the seconds until the next message's turn. The first turn is after `first_at`.

        `per_s` is the number of messages per second that this worker may send.
        """
        if self.next_at <= now:
            self.first_at = self.next_at = first_at
        each_s = 1 / (per_s * self.part * MARGIN)
        # Turns stay open until the last message has come back, even if this message has the
        # shortest turn.
        at = max(self.next_at + each_s, now + SHORTEST_TURN_S)
        self.next_at = min(at, now + LONGEST_TURN_S)
        return self.next_at - now
