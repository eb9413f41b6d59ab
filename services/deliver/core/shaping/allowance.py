"""Decides what one worker may send now under one limit that all workers share. Pure.

A worker spends from a lease: a few messages (or bytes) that only this worker may use. After the
time of the lease (held_lease.py) the worker gives the unused part back. While the store is
unavailable, and for some time after it was emptied, each worker spends its share: the limit divided
by the last known number of workers. However, for some time after the store was emptied, a worker
spends nothing from a window, because no single worker knows how much was used.

Owns: the lease, the share, the size of the next lease, the turns of mail. Does not own: the store,
the calls (edge/shaping/). Times are monotonic seconds. Guarantees: no lease is spent after its
time, so a paused process spends no old lease; a share is empty at first.
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.shaping import room
from services.deliver.core.shaping.held_lease import HeldLease, LocalShare, WindowRecord
from services.deliver.core.shaping.limits import Limit, Unit
from services.deliver.core.shaping.turns import SHORTEST_TURN_S, Turns
from services.deliver.core.shaping.warming import stored_name
from services.deliver.core.shaping.workers import NEVER, Ask, Grant, Workers

# The length of a burst. Bursts and leases exceed a limit by less than 2 % in any 10 s.
BURST_S: Final = 0.1
# A lease from a window is at most 1/WINDOW_PART of the amount that is left in the window.
WINDOW_PART: Final = 20
# After this time, a worker checks again whether its used-up share of a window has room.
LOCAL_LOOK_S: Final = 10.0


class Allowance:
    """One limit in one worker. `factor` lowers the limit while its destination is slowed down."""

    __slots__ = (
        "_lease",
        "_not_before",
        "_per_s",
        "_quick_given",
        "_share",
        "_turns",
        "_used",
        "_workers",
        "factor",
        "held_elsewhere",
        "is_asking",
        "is_by_byte",
        "key",
        "limit",
        "most_waiting",
        "name",
        "needed",
        "quick_left",
        "quick_until",
        "record",
        "seen_at",
        "waiting",
        "wanted",
    )

    def __init__(self, key: str, limit: Limit, workers: Workers) -> None:
        self.key, self.limit = key, limit
        self.factor = 1.0
        self.name = stored_name(key, limit)
        self._per_s, self.is_by_byte = limit.per_s, limit.unit is Unit.BYTES
        self._workers = workers
        self._lease = HeldLease()
        # Until `quick_until`, Group.admit() may take `quick_left` without calling take().
        self.quick_left = 0.0
        self.quick_until = -NEVER
        self._quick_given = 0.0
        self._used = 0.0  # the use of a window by all workers, as in the store's last answer
        self.record = WindowRecord()
        self.wanted = self.needed = self.seen_at = 0.0
        self.is_asking = False
        self.held_elsewhere = False  # True if another limit delayed this mail in the last second
        self._not_before = -NEVER
        self._share = LocalShare()
        self.waiting = 0  # the number of this worker's messages that wait
        self.most_waiting = room.for_new(self.share_of_messages())  # the highest `waiting`
        self._turns = Turns(1.0) if limit.is_window else Turns()  # a window allows bursts

    @property
    def per_s(self) -> float:
        """Return the rate of all workers together, in messages or bytes per second."""
        return self._per_s * self.factor

    @property
    def share_per_s(self) -> float:
        """Return this worker's share of the rate, per second."""
        return self.per_s / self._workers.count

    def cost(self, size_bytes: int) -> float:
        """Return the amount of the limit that one message uses."""
        return size_bytes if self.is_by_byte else 1

    def ready_at(self, now: float, cost: float) -> float:
        """Return 0.0 if a message of this cost may be sent now; otherwise the time to try again.

        If the result is NEVER, call want() so that the store is asked; then try again after the
        answer.
        """
        if now < self._workers.local_until:
            return self._local_ready_at(now, cost)
        self._share.is_used = False
        self._settle()
        if self._lease.left(now) >= cost:
            return 0.0
        return NEVER if now >= self._not_before else self._not_before

    def take(self, now: float, cost: float, waiting: int) -> None:
        """Spend `cost`. Call take() only after ready_at() has returned 0.0."""
        self.seen_at = now
        if self._share.is_used:
            self._take_local(now, cost)
            return
        self._spend(cost)
        if self._per_s <= 1:
            return
        demand = self._demand(now, cost, waiting)
        left, self.quick_left, self.quick_until = self._lease.rest()
        spare = left - demand / 2
        if spare >= 0:
            self.quick_left = min(spare, self.quick_left)
        elif not self.wanted:
            self._want(demand, cost)
        self._quick_given = self.quick_left

    def _spend(self, amount: float) -> None:
        if self.limit.is_window:
            self.record.spend(self._lease.slot, amount)
        self._lease.spend(amount)
        self._turns.used(amount)

    def _settle(self) -> None:
        """Book the amount that Group.admit() took from the lease without calling take()."""
        if self._workers.holder is not None:
            self._workers.book()
        self.quick_until = -NEVER
        if self._quick_given:
            taken, self._quick_given = self._quick_given - self.quick_left, 0.0
            if taken:
                self._spend(taken)

    def want(self, now: float, cost: float, waiting: int) -> None:
        """If less than `cost` is left, record that the store must be asked.

        `waiting` is the number of messages that wait for the limit.
        """
        if now >= self._workers.local_until and self._lease.left(now) < cost:
            self._want(self._demand(now, cost, waiting), cost)

    def ask(self, now: float) -> Ask:
        """Begin a call and return the request; the caller must then call granted() or refused()."""
        self.is_asking = True
        self._settle()
        returned, slot = self._lease.asked(now)
        wanted, self.wanted = self.wanted, 0.0
        amount = max(wanted, self.needed) if wanted else 0.0
        return Ask(max(1.0, self.per_s * BURST_S), amount, self.needed, returned, slot)

    def granted(self, grant: Grant) -> None:
        """Record the answer of the store."""
        self.is_asking = False
        self._workers.answers += 1
        self._settle()
        if grant.amount:
            self._lease.add(grant.amount, grant.answered_at, grant.slot, self._largest_lease())
        # An emptied store does not know yet what was used, so it would grant a second window.
        is_known = grant.answered_at >= self._workers.local_until
        self._used = grant.used if is_known else max(self._used, grant.used)
        self._not_before = grant.answered_at + grant.wait_s
        if self.limit.is_window:
            self.record.forget_before(grant.slot)

    def refused(self) -> None:
        """Record that no answer came. Amounts that the store granted or got back are lost."""
        self.is_asking = False
        self._workers.answers += 1

    def emptied(self) -> None:
        """Report all amounts spent from a window again, because the store was emptied."""
        self._settle()
        self.record.report_all()

    @property
    def has_returned(self) -> bool:
        """Return whether the lease has an amount to give back."""
        return self._lease.has_returned

    def expire(self, now: float) -> None:
        """Give back a lease that was not spent in time. Call this once per second."""
        self.most_waiting = room.for_new(self.share_of_messages())
        self._settle()
        self._lease.left(now)
        if not self.limit.is_window:
            is_sure, self.held_elsewhere = not self.held_elsewhere, False
            self._turns.look(now, self.share_per_s, has_waiting=self.waiting > 0, is_sure=is_sure)

    def turn_s(self, now: float) -> float:
        """Return the seconds until the turn of a message that may not wait in memory."""
        share = self.share_of_messages()
        first_at = now + max(SHORTEST_TURN_S, self.waiting / share)
        return self._turns.next_s(now, max(first_at, self._blocked_until(now)), share)

    def has_turns(self, now: float) -> bool:
        """Return True if some of the mail that this limit turned away has not come back yet."""
        return self._turns.are_open(now)

    def free_room(self, now: float) -> float:
        """Return a number of further messages for which is_full() need not be called."""
        if now < self._turns.next_at or (self.limit.is_window and self.is_used_up(now)):
            return 0.0
        return self.most_waiting - self.waiting

    def is_used_up(self, now: float) -> bool:
        """Return whether a window stays used up for longer than messages may wait in memory."""
        return self._blocked_until(now) > now + room.BACK_ROOM_S

    def is_full(self, now: float, *, is_back: bool) -> bool:
        """Return whether no more messages may wait. `is_back` is True if the message's turn came.

        New mail may use only the room that mail with turns does not need.
        """
        if self.is_used_up(now):
            return True
        if is_back:
            is_scarce = self._workers.is_overcrowded
            return self.waiting >= room.for_back(self.share_of_messages(), is_scarce=is_scarce)
        if self._workers.is_crowded:
            return self.waiting >= room.CROWDED_ROOM
        if self.waiting >= self.most_waiting:
            return True
        wait_s = self.waiting / self.share_of_messages()
        return self.has_turns(now) and wait_s >= max(room.FILL_S, self._turns.first_at - now)

    def is_idle(self, now: float, for_s: float) -> bool:
        """Return whether this limit has no state that must be kept."""
        return (
            not self.waiting
            and not self.is_asking
            and now - self.seen_at > for_s
            and not self.has_turns(now)
            and now > self._share.next_at
            and self.record.is_empty
        )

    def share_of_messages(self) -> float:
        """Return this worker's share in messages per second, at the usual size of a message."""
        return self.share_per_s / (20_000 if self.is_by_byte else 1)

    def _blocked_until(self, now: float) -> float:
        return self._not_before if self.limit.is_window and self._not_before > now else now

    def _largest_lease(self) -> float:
        if self.limit.is_window:
            most = (self.limit.amount - self._used) / (WINDOW_PART * self._workers.count)
        else:  # computes share_per_s without function calls
            most = self._per_s * self.factor / self._workers.count * BURST_S
        return most if most > 1 else 1.0

    def _demand(self, now: float, cost: float, waiting: int) -> float:
        """Return the size of the next lease: enough for the waiting mail or for its lifetime."""
        waits = (cost if self.is_by_byte else 1) * (waiting or 1)
        return self._lease.demand(now, waits, self._largest_lease())

    def _want(self, amount: float, needed: float) -> None:
        self.needed = needed
        if not self.wanted:
            self._workers.on_want()
        self.wanted = max(self.wanted, amount)

    def is_wanted(self, now: float) -> bool:
        """Return whether a lease is wanted and the store may be asked for it now."""
        return self.wanted > 0 and not self.is_asking and now >= self._not_before

    def _enter_local(self, now: float) -> None:
        self._settle()
        self._lease.drop()
        self.wanted = 0.0
        left = self.record.share_left(self.limit.amount, self._used, self._workers.count)
        self._share.begin(now, self.share_per_s, left)

    def _local_ready_at(self, now: float, cost: float) -> float:
        if not self._share.is_used:
            self._enter_local(now)
        if not self.limit.is_window:
            return 0.0 if now >= self._share.next_at else self._share.next_at
        if self._workers.local_until != NEVER:
            return self._workers.local_until
        return 0.0 if self._share.left >= cost else now + LOCAL_LOOK_S

    def _take_local(self, now: float, cost: float) -> None:
        if self.limit.is_window:
            self._share.left -= cost
            self.record.spend_locally(cost)
            return
        self._turns.used(cost)
        self._share.take(now, cost, self.share_per_s, BURST_S)
