"""Defines a worker's knowledge of all workers, and its requests for leases to the store. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

NEVER: Final = math.inf


class Holder(Protocol):
    """A group of messages that keeps its own count of the amounts that it takes from its limits."""

    def book(self) -> None:
        """Add the count of this group to the limits, where all groups see this count."""
        ...


class Workers:
    """Holds what one worker knows about the number of live workers and about the store.

    Until `local_until`, each worker uses only its share of the limits. `room` is the number of
    messages that may be in flight in this process. `waiting` is the number of messages that wait
    for limits.
    """

    __slots__ = ("answers", "count", "holder", "local_until", "on_want", "room", "waiting")

    def __init__(self, count: int, local_until: float = NEVER, room: int = 2_000) -> None:
        self.count = max(1, count)
        self.local_until = local_until
        self.room = room
        self.waiting = 0
        # The only group whose count is not booked yet; None if all counts are booked.
        self.holder: Holder | None = None
        # The number of calls that the store has answered or failed to answer.
        self.answers = 0
        # This function is called when a lease is wanted.
        self.on_want: Callable[[], None] = _nothing

    def book(self) -> None:
        """Book the count that a group keeps for itself. Call this before you read a limit."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.book()

    @property
    def is_crowded(self) -> bool:
        """Return whether mail that waits for limits takes the room of other mail."""
        return self.waiting * 2 >= self.room

    @property
    def is_overcrowded(self) -> bool:
        """Return whether even mail whose turn has come must stay on its topic."""
        return self.waiting * 4 >= self.room * 3


def _nothing() -> None:
    """Do nothing. This is the callback until another callback is set."""


class Ask(Struct, frozen=True):
    """A request to the store; see shared/store/leases.py."""

    burst: float
    wanted: float
    needed: float
    returned: float
    slot: int


class Grant(Struct, frozen=True):
    """A granted lease. `answered_at` is at most half a second after the call (lease_client.py)."""

    amount: float
    answered_at: float
    wait_s: float
    used: float = 0.0
    slot: int = 0
