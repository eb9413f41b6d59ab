"""When mail comes back that a limit has turned away: one message after the other, a little slower
than the limit. Pure.

A message that comes back and finds no room is written to Kafka again, so turns must not come faster
than mail really goes. A limit is not always used up: what a process that was busy elsewhere did not
send in time is lost, as there is no catching up. Yield is the part that was used while mail waited;
turns follow it. What that leaves free goes to new mail (Allowance.is_full).

Little of a limit may be used because another limit of the same mail holds it up. That says nothing
of other mail under this limit, so only LEAST_YIELD is believed then; otherwise LEAST_SURE_YIELD.
Seconds in which nothing went count with the next one in which something did: a site that takes
no mail at all says nothing of its rate. If another limit held mail up in any of the seconds that
count together, it may explain them all.

Owns: the list of turns of one limit in one worker, the measured yield. Does not own: the limit
(allowance.py). Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Final

SHORTEST_TURN_S: Final = 5.0
LONGEST_TURN_S: Final = 43_200.0
# Turns come this much slower than mail goes.
MARGIN: Final = 0.97
# The yield before anything was measured, and the least that is believed: if another limit of the
# same mail holds it up, and if none does.
FIRST_YIELD: Final = 0.4
LEAST_YIELD: Final = 0.8
LEAST_SURE_YIELD: Final = 0.2
# The weight of a second in the average, once there are as many; before that it is their mean.
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
        """`part`: the yield until it is measured."""
        self.first_at = self.next_at = float("-inf")
        self.part = part
        self._used = 0.0
        self._looked_at = float("-inf")
        self._had_waiting = False
        self._is_sure = True  # in all seconds that count with the next one
        self._looks = 0

    def used(self, amount: float) -> None:
        """So much of the limit was spent."""
        self._used += amount

    def look(self, now: float, per_s: float, *, has_waiting: bool, is_sure: bool = True) -> None:
        """Measure the yield since the last look. `per_s`: what this worker might have sent.

        `is_sure`: no other limit has held up mail of this one since the last call.
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
        """Whether mail that was turned away comes back."""
        return now < self.next_at

    def next_s(self, now: float, first_at: float, per_s: float) -> float:
        """In how many seconds the next message has its turn; the first one at `first_at`.

        `per_s`: messages that this worker may send.
        """
        if self.next_at <= now:
            self.first_at = self.next_at = first_at
        each_s = 1 / (per_s * self.part * MARGIN)
        # Turns are open until the last message has come back, also one of the shortest turn.
        at = max(self.next_at + each_s, now + SHORTEST_TURN_S)
        self.next_at = min(at, now + LONGEST_TURN_S)
        return self.next_at - now
