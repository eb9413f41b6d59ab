"""The workers that share each limit: their number, and the leases that one asks for. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

NEVER: Final = math.inf


class Holder(Protocol):
    """A group of messages that keeps its own count of what it takes of its limits."""

    def book(self) -> None:
        """Add the count to the limits, where all groups see it."""
        ...


class Workers:
    """What one worker knows: how many workers are live, and whether the store can be asked.

    `local_until`: until then each worker keeps to its share. `room`: how many messages may be in
    flight here; `waiting`: how many of them wait for limits.
    """

    __slots__ = ("answers", "count", "holder", "local_until", "on_want", "room", "waiting")

    def __init__(self, count: int, local_until: float = NEVER, room: int = 2_000) -> None:
        self.count = max(1, count)
        self.local_until = local_until
        self.room = room
        self.waiting = 0
        # The group whose count is not booked yet; one at most.
        self.holder: Holder | None = None
        # How often the store has answered, or failed to.
        self.answers = 0
        # Called when a lease is wanted.
        self.on_want: Callable[[], None] = _nothing

    def book(self) -> None:
        """Book what a group has counted for itself. To be called before a limit is looked at."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.book()

    @property
    def is_crowded(self) -> bool:
        """Whether mail that waits for limits takes the room of other mail."""
        return self.waiting * 2 >= self.room

    @property
    def is_overcrowded(self) -> bool:
        """Whether even mail whose turn has come has to wait elsewhere."""
        return self.waiting * 4 >= self.room * 3


def _nothing() -> None:
    """The callback before one is set."""


class Ask(Struct, frozen=True):
    """A request to the store; see shared/store/leases.py."""

    burst: float
    wanted: float
    needed: float
    returned: float
    slot: int


class Grant(Struct, frozen=True):
    """A granted lease; `answered_at` is at most half a second later (lease_client.py)."""

    amount: float
    answered_at: float
    wait_s: float
    used: float = 0.0
    slot: int = 0
