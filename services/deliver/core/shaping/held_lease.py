"""Keeps the state of a limit in one worker: leases, a local share, the record of a window. Pure.

Leases: a worker holds two leases at most. The worker spends the older lease first, and asks for the
next lease before the older lease is used up. A lease may be spent for LEASE_S after the store's
answer, and a small lease for LONG_LEASE_S. After that time the rest is given back. So a process
that was paused spends nothing from an old lease.

Share: while the store is unavailable, the worker may use its part of the limit. This share is empty
at first.

Record: the amounts that the worker has spent from a rolling window, by slot. Each live worker
reports these amounts to a store that was emptied or unavailable. The worker repeats the report
until the store has answered, because it is safer to count an amount twice than not at all.

Does not own: the decision when the share is used (allowance.py), the requests for leases
(edge/shaping/). Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.shaping.workers import NEVER

# A lease may be spent for this time after the store's answer.
LEASE_S: Final = 0.08
# A small lease may be spent for LONG_LEASE_S, so that a limit that is hardly used costs fewer
# calls. A lease is small if it is at most SMALL_PART of the largest lease. A worker holds two
# leases at most, so it keeps at most 0.016 s of its share of a rate for longer than LEASE_S.
LONG_LEASE_S: Final = 0.3
SMALL_PART: Final = 0.08
# A lease is larger than the recent use by this factor, so that it is not used up too early.
SPARE: Final = 1.5
_AHEAD_S: Final = LEASE_S * SPARE
_LONG_AHEAD_S: Final = LONG_LEASE_S * SPARE
# The speed at which a lease is spent is measured over at least this time.
_SHORTEST_S: Final = 0.001
# The number of slots of a window.
SLOTS: Final = 60


class HeldLease:
    """The leases of one limit.

    `slot` is the slot of the window in which the store counted the current lease.
    """

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
        # The time of the last request, and the amount that was spent since then.
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
        """Return the rest of both leases, the rest of the current lease, and its expiry time.

        Call left() first, because it removes expired leases.
        """
        return self._left + self._next_left, self._left, self._expires_at

    def spend(self, cost: float) -> None:
        """Take `cost` from the lease. The caller has checked with left() that enough is left."""
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

    def add(self, amount: float, answered_at: float, slot: int, most: float = 0.0) -> None:
        """Add a granted lease. `most` is the size of the largest lease."""
        if self._next_left:
            self._give_back(self._next_left, self._next_slot)
            self._next_left = 0.0
        is_small = amount <= most * SMALL_PART
        expires_at = answered_at + (LONG_LEASE_S if is_small else LEASE_S)
        if self._left:
            self._next_left, self._next_expires_at, self._next_slot = amount, expires_at, slot
        else:
            self._left, self._expires_at, self.slot = amount, expires_at, slot

    def demand(self, now: float, waits: float, most: float) -> float:
        """Return the size of the next lease.

        The lease is enough for `waits` and for the expected use in LEASE_S, but at most `most`.
        However, if a small lease is enough for the expected use in LONG_LEASE_S, the lease is small
        and enough for this use.
        """
        # Comparisons take a third of the time of max() and min(), and this code runs at each use of
        # a limit.
        seconds = now - self._asked_at
        per_s = self._spent_since / (seconds if seconds > _SHORTEST_S else _SHORTEST_S)
        spent = per_s * _LONG_AHEAD_S
        demand = spent if spent > waits else waits
        if demand <= most * SMALL_PART:
            return demand
        spent = per_s * _AHEAD_S
        demand = spent if spent > waits else waits
        return demand if demand < most else most

    def asked(self, now: float) -> tuple[float, int]:
        """Begin a call to the store. Return the amount to give back, and the slot of the amount."""
        self._asked_at, self._spent_since = now, 0.0
        returned, self._returned = self._returned, 0.0
        return returned, self._returned_slot

    def drop(self) -> None:
        """Forget all leases, because the store is unavailable or was emptied."""
        self._left = self._next_left = self._returned = 0.0

    @property
    def has_returned(self) -> bool:
        """Return whether there is an amount to give back."""
        return self._returned > 0

    def _give_back(self, amount: float, slot: int) -> None:
        if self._returned_slot != slot:
            # It is too late to give back the older amount. That amount counts as used until its
            # window has ended.
            self._returned, self._returned_slot = 0.0, slot
        self._returned += amount


class LocalShare:
    """This worker's share of one limit. `is_used` is True while the share is in use."""

    __slots__ = ("is_used", "left", "next_at")

    def __init__(self) -> None:
        self.is_used = False
        self.next_at = -NEVER
        self.left = 0.0

    def begin(self, now: float, per_s: float, left: float) -> None:
        """Use the share from now on. `per_s` is used for a rate, and `left` for a window."""
        self.is_used = True
        self.next_at = max(self.next_at, now + 1 / per_s)
        self.left = max(0.0, left)

    def take(self, now: float, cost: float, per_s: float, burst_s: float) -> None:
        """Take `cost` from the share of a rate.

        A part of the share that is not used for longer than `burst_s` is lost.
        """
        self.next_at = max(self.next_at, now - burst_s) + cost / per_s


class WindowRecord:
    """The amounts that this worker has spent from one window, by slot."""

    __slots__ = ("_locally", "_spent", "_to_report")

    def __init__(self) -> None:
        self._spent: dict[int, float] = {}
        # The amount spent without the store since the last report, and the amounts to report.
        self._locally = 0.0
        self._to_report: dict[int, float] = {}

    @property
    def is_empty(self) -> bool:
        """Return whether the record has no amounts."""
        return not (self._spent or self._locally or self._to_report)

    @property
    def has_unreported(self) -> bool:
        """Return True if the store does not yet include an amount that was spent."""
        return bool(self._locally or self._to_report)

    def share_left(self, amount: float, used: float, workers: int) -> float:
        """Return how much of a window of `amount` this worker may spend without the store.

        `used` is the amount that all workers had used at the store's last answer. This worker gets
        an equal share of the rest. Other workers may have used more since that answer, so
        everything that this worker has spent also stays within an equal share of the whole window.
        """
        spent = sum(self._spent.values()) + self._locally
        return min((amount - used) / workers, amount / workers - spent)

    def spend(self, slot: int, amount: float) -> None:
        """Record an amount spent from a lease that the store counts in this slot."""
        self._spent[slot] = self._spent.get(slot, 0.0) + amount

    def spend_locally(self, amount: float) -> None:
        """Record an amount spent without the store."""
        self._locally += amount

    def forget_before(self, slot: int) -> None:
        """Forget slots that are too old for a window whose current slot is `slot`."""
        for old in [each for each in self._spent if each < slot - SLOTS]:
            del self._spent[old]

    def report_all(self) -> None:
        """Report all amounts, because the store was emptied."""
        self._to_report = dict(self._spent)

    def unreported(self, slot: int) -> dict[int, float]:
        """Return the amounts to report, by slot.

        Amounts that were spent without the store are reported as spent in `slot`.
        """
        if self._locally:
            amount, self._locally = self._locally, 0.0
            self.spend(slot, amount)
            self._to_report[slot] = self._to_report.get(slot, 0.0) + amount
        return dict(self._to_report)

    def reported(self) -> None:
        """Record that the store has received the report."""
        self._to_report.clear()
