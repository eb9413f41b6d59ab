"""The lease of one limit that a worker holds: what is left, and how much it needs next. Pure.

A worker holds two leases at most: it spends the older one first, and asks for the next before that
is spent. Each may be spent for LEASE_S after its answer came and is then given back, so a process
that was paused spends nothing of the past. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.shaping.workers import NEVER

# How long a lease may be spent.
LEASE_S: Final = 0.08
# How much more is asked for than was spent lately, so that a lease does not end too early.
SPARE: Final = 1.5
_AHEAD_S: Final = LEASE_S * SPARE
# The speed is measured over no less.
_SHORTEST_S: Final = 0.001


class HeldLease:
    """What is held. `slot`: of a window, where the lease that is spent now was taken from."""

    __slots__ = (
        "_asked_at",
        "_expires_at",
        "_left",
        "_next_expires_at",
        "_next_left",
        "_next_slot",
        "_returned",
        "_returned_slot",
        "_spent_since",
        "slot",
    )

    def __init__(self) -> None:
        self._left = self._next_left = 0.0
        self._expires_at = self._next_expires_at = -NEVER
        self.slot = self._next_slot = 0
        self._returned = 0.0
        self._returned_slot = 0
        # For the speed at which it is spent.
        self._asked_at = 0.0
        self._spent_since = 0.0

    def left(self, now: float) -> float:
        """Return the amount that may be spent now."""
        if self._left and now >= self._expires_at:
            self._give_back(self._left, self.slot)
            self._left = 0.0
        if self._next_left and now >= self._next_expires_at:
            self._give_back(self._next_left, self._next_slot)
            self._next_left = 0.0
        return self._left + self._next_left

    def rest(self) -> tuple[float, float, float]:
        """Return the rest of both leases, that of the one being spent, and when this expires.

        To be called after left().
        """
        return self._left + self._next_left, self._left, self._expires_at

    def spend(self, cost: float) -> None:
        """Take `cost` from the lease; the caller has seen in left() that there is enough."""
        self._spent_since += cost
        if cost <= self._left:
            self._left -= cost
            return
        self._next_left -= cost - self._left
        self._left, self._expires_at, self.slot = (
            self._next_left,
            self._next_expires_at,
            self._next_slot,
        )
        self._next_left = 0.0

    def add(self, amount: float, answered_at: float, slot: int) -> None:
        """A lease was granted."""
        if self._next_left:
            self._give_back(self._next_left, self._next_slot)
            self._next_left = 0.0
        expires_at = answered_at + LEASE_S
        if self._left:
            self._next_left, self._next_expires_at, self._next_slot = amount, expires_at, slot
        else:
            self._left, self._expires_at, self.slot = amount, expires_at, slot

    def demand(self, now: float, waits: float, most: float) -> float:
        """Return the size of the next lease: what waits, or what is spent in LEASE_S; or `most`."""
        # Comparisons take a third of the time of max() and min(): each look at a limit comes by.
        seconds = now - self._asked_at
        spent = self._spent_since / (seconds if seconds > _SHORTEST_S else _SHORTEST_S) * _AHEAD_S
        demand = spent if spent > waits else waits
        return demand if demand < most else most

    def asked(self, now: float) -> tuple[float, int]:
        """A call begins: what it gives back, and the slot that this was taken from."""
        self._asked_at, self._spent_since = now, 0.0
        returned, self._returned = self._returned, 0.0
        return returned, self._returned_slot

    def drop(self) -> None:
        """Forget all: the store is unavailable or was emptied."""
        self._left = self._next_left = self._returned = 0.0

    @property
    def has_returned(self) -> bool:
        """Whether there is something to give back."""
        return self._returned > 0

    def _give_back(self, amount: float, slot: int) -> None:
        if self._returned_slot != slot:
            # Given back too late to count; it stays used until its window is over.
            self._returned, self._returned_slot = 0.0, slot
        self._returned += amount
