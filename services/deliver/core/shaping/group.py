"""The messages of one sender to one destination, and the limits that they need together. Pure.

A message needs up to fifteen limits, and most messages follow one of the same group. So the group
that was used last keeps its own count: how many of its messages wait, and what it took of the
leases. It is booked in all its limits before anything else looks at a limit (Workers.book).

Guarantees: no more is taken than each lease has left; the count of one group at most is not booked.
"""

from __future__ import annotations

from typing import Final, Protocol

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.keys import Destination, Party, keys_of
from services.deliver.core.shaping.room import FILL_S, nearly_full
from services.deliver.core.shaping.workers import NEVER, Workers

# After so many messages of a group the room of its limits is looked at again, or after those that
# take this part of it: the limits are those of other groups too.
LOOK_AGAIN: Final = 64
ROOM_PART: Final = 0.2
# Messages that wait for an answer of the store look again after this time in any case.
LOOK_S: Final = 0.5
# Allowance.ready_at() returns this for a limit that delays no mail by itself.
_FREE: Final = (0.0, NEVER)
# What is left where nothing is limited: whole messages or bytes.
_ALL: Final = 1 << 62


class Sized(Protocol):
    """A message."""

    @property
    def size_bytes(self) -> int:
        """The size of its content."""
        ...


class Group:
    """The messages of one sender to one destination."""

    __slots__ = (
        "_by_byte",
        "_by_message",
        "_had",
        "_had_bytes",
        "_joined",
        "_left",
        "_left_bytes",
        "_look_at",
        "_of_destination",
        "_room",
        "_until",
        "_waits_for",
        "_workers",
        "allowances",
        "keys",
        "sender",
        "to",
        "warmup",
    )

    def __init__(
        self,
        to: Destination,
        sender: Party,
        allowances: tuple[Allowance, ...],
        workers: Workers,
        warmup: Allowance | None = None,
    ) -> None:
        """`warmup`: the one of the allowances by which the source warms up, if it does."""
        self.warmup = warmup
        self._workers = workers
        self.to = to
        self.sender = sender
        self.keys = keys_of(to, sender)
        self.allowances = allowances
        self._by_byte = [each for each in allowances if each.is_by_byte]
        self._by_message = [each for each in allowances if not each.is_by_byte]
        self._of_destination = [each for each in self._by_message if each.key == to.key]
        # The number of answers when the store was last asked: nothing changes before the next.
        self._waits_for = -1
        self._look_at = 0.0
        # So many messages more have room without a look at each limit.
        self._room = 0
        # How many messages more wait, which is not booked.
        self._joined = 0
        # What could be taken of all leases together at the last look, and what is left of that;
        # the difference is not booked. Until when; -NEVER: it is not known.
        self._had = self._had_bytes = self._left = self._left_bytes = 0
        self._until = -NEVER

    def full(self, now: float, *, is_back: bool = False) -> Allowance | None:
        """The limit for which no message more may wait; None: it may wait.

        `is_back`: the message was turned away before, and its turn has come.
        """
        if not self._workers.is_crowded:
            if self.has_room():
                return None
            # What others have counted has to be booked; what this group has is known here.
            if self._workers.holder is not self:
                self._workers.book()
            if (room := self._free_room(now)) > 0:
                self._room = int(min(LOOK_AGAIN, room * ROOM_PART))
                return None
        self._workers.book()
        for allowance in self.allowances:
            if allowance.is_full(now, is_back=is_back):
                return allowance
        return None

    def _free_room(self, now: float) -> float:
        free = min([each.free_room(now) for each in self.allowances], default=NEVER)
        # 0.0 says that a limit has to be asked in full, however many have just left the line.
        return free - self._joined if free > 0 else 0.0

    def is_nearly_full(self, more: int) -> bool:
        """Whether so many messages more that come back would leave little room for others.

        Changes nothing, so another thread may ask; what other groups have not booked is left out.
        """
        if self._workers.holder is self:
            more += self._joined
        is_scarce = self._workers.is_crowded
        return any(
            each.waiting + more >= nearly_full(each.share_of_messages(), is_scarce=is_scarce)
            for each in self.allowances
            if not each.limit.is_window
        )

    def may_go_early(self, now: float) -> bool:
        """Whether its limits would be used too little without mail whose turn is still to come.

        Changes nothing, so another thread may ask.
        """
        joined = self._joined if self._workers.holder is self else 0
        return all(
            not each.is_used_up(now)
            and (each.limit.is_window or each.waiting + joined < FILL_S * each.share_of_messages())
            for each in self.allowances
        )

    def has_room(self) -> bool:
        """Whether one message more may wait without a look at each limit; it counts as taken."""
        # Workers.is_crowded, without a call: this is asked for each message.
        if self._room <= 0 or self._workers.waiting * 2 >= self._workers.room:
            return False
        self._room -= 1
        return True

    def admit(self, message: Sized, now: float, waiting: int) -> float:
        """Take what a message needs of all limits and return 0.0, or return when to try again."""
        size_bytes, workers = message.size_bytes, self._workers
        # Without a call, as nearly each message goes this way.
        if workers.holder is self and workers.local_until <= now < self._until:
            left, left_bytes = self._left, self._left_bytes
            if left and left_bytes >= size_bytes:
                self._left, self._left_bytes = left - 1, left_bytes - size_bytes
                return 0.0
        return self._admit_slowly(size_bytes, now, waiting)

    def _admit_slowly(self, size_bytes: int, now: float, waiting: int) -> float:
        is_shared = now >= self._workers.local_until
        if is_shared and self._waits_for == self._workers.answers and now < self._look_at:
            return NEVER
        if is_shared and self._try_quickly(size_bytes, now):
            return 0.0
        blocked_until, lacks = 0.0, False
        costs = [size_bytes if each.is_by_byte else 1 for each in self.allowances]
        costly = list(zip(self.allowances, costs, strict=True))
        ready_at = [each.ready_at(now, cost) for each, cost in costly]
        for ready in ready_at:
            if ready == NEVER:
                lacks = True
            elif ready > blocked_until:
                blocked_until = ready
        if blocked_until:
            # Nothing is asked of the other limits: the lease would end unused.
            for allowance, ready in zip(self.allowances, ready_at, strict=True):
                allowance.held_elsewhere |= ready in _FREE
            return blocked_until
        if lacks:
            for allowance, cost in costly:
                allowance.want(now, cost, waiting)
            self._waits_for, self._look_at = self._workers.answers, now + LOOK_S
            return NEVER
        for allowance, cost in costly:
            allowance.take(now, cost, waiting)
        return 0.0

    def _try_quickly(self, size_bytes: int, now: float) -> bool:
        """Take what a message needs if each limit has enough of its lease left."""
        if self._workers.holder is not self or self._until == -NEVER:
            self._look()
        if now >= self._until or not self._left or self._left_bytes < size_bytes:
            return False
        self._left -= 1
        self._left_bytes -= size_bytes
        return True

    def _hold(self) -> None:
        """Keep the count from now on."""
        self._workers.book()
        self._workers.holder = self

    def _look(self) -> None:
        """Find out what all leases together have left."""
        self._hold()
        self._until = min([each.quick_until for each in self.allowances], default=NEVER)
        self._had = self._left = _least_left(self._by_message)
        self._had_bytes = self._left_bytes = _least_left(self._by_byte)

    def book(self) -> None:
        """Count in all limits what this group has counted for itself."""
        self._until = -NEVER
        if self._joined:
            for allowance in self.allowances:
                allowance.waiting += self._joined
        if self._left != self._had:
            taken, taken_bytes = self._had - self._left, self._had_bytes - self._left_bytes
            for allowance in self._by_message:
                allowance.quick_left -= taken
            for allowance in self._by_byte:
                allowance.quick_left -= taken_bytes
            self._had, self._had_bytes = self._left, self._left_bytes
        self._joined = 0

    def joined(self, count: int) -> None:
        """So many messages more wait for the limits; negative: fewer."""
        if not self.allowances:
            return
        if self._workers.holder is not self:
            self._hold()
        self._workers.waiting += count
        self._joined += count

    def is_warmed_out(self, now: float) -> bool:
        """Whether it is known that the source may send no more today, because it warms up."""
        return self.warmup is not None and 0 < self.warmup.ready_at(now, 1) < NEVER

    def overflows(self, now: float) -> bool:
        """The same, or as many messages as may wait for that wait already."""
        if self.warmup is None:
            return False
        self._workers.book()
        return self.is_warmed_out(now) or self.warmup.is_full(now, is_back=False)

    @property
    def share_per_s(self) -> float:
        """The messages per second that this worker may send, by its tightest limit; 0: any."""
        # Mail beyond the limit of a source that warms up is sent from another source.
        mine = (each for each in self._by_message if each is not self.warmup)
        return min((each.share_per_s for each in mine), default=0.0)

    @property
    def destination_share_per_s(self) -> float:
        """The same, by the limits of the destination alone."""
        return min([each.share_per_s for each in self._of_destination], default=0.0)


def _least_left(of: list[Allowance]) -> int:
    """What may be taken of each of these leases, in whole messages or bytes."""
    return max(0, int(min([each.quick_left for each in of], default=_ALL)))
