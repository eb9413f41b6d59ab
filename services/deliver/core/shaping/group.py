"""The messages of one sender to one destination, and the limits that apply to them. Pure.

Up to fifteen limits apply to a message, and most messages follow a message of the same group. So
the group that was used last keeps its own count. The count contains the number of further messages
that wait, and the amount that the messages took from the leases. The count is booked in all limits
of the group before other code reads a limit (Workers.book).

Guarantees: a group never takes more than each lease has left. At most one group has a count that is
not booked.
"""

from __future__ import annotations

from typing import Final, Protocol

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.keys import Destination, Party, keys_of
from services.deliver.core.shaping.room import FILL_S, nearly_full
from services.deliver.core.shaping.workers import NEVER, Workers

# Other groups share the limits. So the room of the limits is checked again after LOOK_AGAIN
# messages of a group, or after messages that fill ROOM_PART of the room.
LOOK_AGAIN: Final = 64
ROOM_PART: Final = 0.2
# A message that waits for the store's answer tries again after this time, even without an answer.
LOOK_S: Final = 0.5
# Allowance.ready_at() returns one of these values if the limit does not delay the message.
_FREE: Final = (0.0, NEVER)
# The amount that is left if there is no limit, in whole messages or bytes.
_ALL: Final = 1 << 62


class Sized(Protocol):
    """A message."""

    @property
    def size_bytes(self) -> int:
        """Return the size of the content."""
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
        """`warmup` is the limit in `allowances` that warms up the source, if there is one."""
        self.warmup = warmup
        self._workers = workers
        self.to = to
        self.sender = sender
        self.keys = keys_of(to, sender)
        self.allowances = allowances
        self._by_byte = [each for each in allowances if each.is_by_byte]
        self._by_message = [each for each in allowances if not each.is_by_byte]
        self._of_destination = [each for each in self._by_message if each.key == to.key]
        # The number of the store's answers at the time of the last request. If this number is still
        # the same, no new lease has arrived.
        self._waits_for = -1
        self._look_at = 0.0
        # The number of further messages that may wait without a check of each limit.
        self._room = 0
        # The number of further messages that wait. This number is not booked yet.
        self._joined = 0
        # The amount that every lease allowed at the last look, and the part of this amount that is
        # left. The difference is not booked yet. Both amounts are valid until `_until`. If `_until`
        # is -NEVER, they are not known.
        self._had = self._had_bytes = self._left = self._left_bytes = 0
        self._until = -NEVER

    def full(self, now: float, *, is_back: bool = False) -> Allowance | None:
        """Return the limit for which no more messages may wait; None if the message may wait.

        `is_back` is True if the message was turned away before and its turn has come.
        """
        if not self._workers.is_crowded:
            if self.has_room():
                return None
            # Before the check, the count of another group must be booked. _free_room() considers
            # this group's own count.
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
        # 0.0 means that each limit must be checked, even if messages have just left the line.
        return free - self._joined if free > 0 else 0.0

    def is_nearly_full(self, more: int) -> bool:
        """Return whether `more` messages that come back would leave little room for other messages.

        This method changes nothing, so another thread may call it. The result ignores a count that
        another group keeps.
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
        """Return True if the limits are used so little that mail may be read before its turn.

        This method changes nothing, so another thread may call it.
        """
        joined = self._joined if self._workers.holder is self else 0
        return all(
            not each.is_used_up(now)
            and (each.limit.is_window or each.waiting + joined < FILL_S * each.share_of_messages())
            for each in self.allowances
        )

    def has_room(self) -> bool:
        """Count one more message and return True if each limit surely has room; otherwise False."""
        # The second condition repeats the code of Workers.is_crowded. This saves a function call
        # for each message.
        if self._room <= 0 or self._workers.waiting * 2 >= self._workers.room:
            return False
        self._room -= 1
        return True

    def admit(self, message: Sized, now: float, waiting: int) -> float:
        """Count a message and return 0.0 if all limits allow it; otherwise return when to retry."""
        size_bytes, workers = message.size_bytes, self._workers
        # Nearly every message takes this path, so this path saves function calls.
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
            # The other limits ask for no lease, because their leases would expire unused.
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
        """Take what a message needs and return True if each lease has enough; otherwise False."""
        if self._workers.holder is not self or self._until == -NEVER:
            self._look()
        if now >= self._until or not self._left or self._left_bytes < size_bytes:
            return False
        self._left -= 1
        self._left_bytes -= size_bytes
        return True

    def _hold(self) -> None:
        """Make this group the only group that keeps its own count."""
        self._workers.book()
        self._workers.holder = self

    def _look(self) -> None:
        """Find out how much may be taken from every lease of this group."""
        self._hold()
        self._until = min([each.quick_until for each in self.allowances], default=NEVER)
        self._had = self._left = _least_left(self._by_message)
        self._had_bytes = self._left_bytes = _least_left(self._by_byte)

    def book(self) -> None:
        """Book this group's own count in all its limits."""
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
        """Add `count`, which may be negative, to the number of messages that wait for limits."""
        if not self.allowances:
            return
        if self._workers.holder is not self:
            self._hold()
        self._workers.waiting += count
        self._joined += count

    def is_warmed_out(self, now: float) -> bool:
        """Return whether the source warms up and is known to have used today's limit."""
        return self.warmup is not None and 0 < self.warmup.ready_at(now, 1) < NEVER

    def overflows(self, now: float) -> bool:
        """Return whether mail should use another source.

        Mail should use another source if today's warm-up limit is used up, or if too much mail
        waits for this limit.
        """
        if self.warmup is None:
            return False
        self._workers.book()
        return self.is_warmed_out(now) or self.warmup.is_full(now, is_back=False)

    @property
    def share_per_s(self) -> float:
        """Return this worker's messages per second under the tightest limit; 0.0 without limits."""
        # The warm-up limit is left out, because mail beyond this limit is sent from another source.
        mine = (each for each in self._by_message if each is not self.warmup)
        return min((each.share_per_s for each in mine), default=0.0)

    @property
    def destination_share_per_s(self) -> float:
        """Return the messages per second that the destination's own limits allow this worker."""
        return min([each.share_per_s for each in self._of_destination], default=0.0)


def _least_left(of: list[Allowance]) -> int:
    """Return how much may be taken from every one of these leases, in whole messages or bytes."""
    return max(0, int(min([each.quick_left for each in of], default=_ALL)))
