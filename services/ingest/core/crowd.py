"""How many connections there are, and errors on them: in all, by address, by client. Pure.

Owns: the counts and the limits on them. Does not own: what is answered (replies.py), the time.
Memory: the counts hold what is open; what is counted by the minute is an access.Rate each.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from msgspec import Struct

from services.ingest.core.access import Rate, counted_as


class Excess(StrEnum):
    """Which limit a connection is over."""

    ALL = "all"
    ADDRESS = "address"
    MINUTE = "minute"
    ADDRESS_ERRORS = "address errors"
    CLIENT_ERRORS = "client errors"


class CrowdLimits(Struct, frozen=True):
    """Open connections, of those from one address; by the minute (0: any number) new ones of one
    address, errors of one address, errors of one logged-in client."""

    connections: int
    per_address: int
    per_address_minute: int
    address_errors: int = 0
    client_errors: int = 0


class Crowd:
    """The open connections of one front door."""

    def __init__(self, limits: CrowdLimits) -> None:
        self.limits = limits
        self.count = 0
        self.by_address: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()
        self.new = Rate()
        self.address_errors = Rate()
        self.client_errors = Rate()

    def enter(self) -> Place | None:
        """A place for a connection whose address may not be known yet; None: there is none."""
        if self.count >= self.limits.connections:
            return None
        self.count += 1
        return Place(self)


class Place:
    """One connection's place among them. After leave() it counts nowhere, and never again."""

    __slots__ = ("_crowd", "_is_left", "_key", "address", "client", "errors")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._is_left = False
        self._key = ""
        self.address = ""
        self.client = ""
        self.errors = 0

    def settle(self, address: str, now: float) -> Excess | None:
        """Count it under its address; call once. The limit that it is over, None for none."""
        crowd, key = self._crowd, counted_as(address)
        self.address, self._key = address, key
        crowd.by_address[key] += 1
        if crowd.by_address[key] > crowd.limits.per_address:
            return Excess.ADDRESS
        if crowd.address_errors.is_spent(key, crowd.limits.address_errors, now):
            return Excess.ADDRESS_ERRORS
        if not crowd.new.take(key, crowd.limits.per_address_minute, now):
            return Excess.MINUTE
        return None

    def note_errors(self, total: int, now: float) -> Excess | None:
        """Count the refused commands, now so many; the limit that is passed, None for none."""
        crowd, limits = self._crowd, self._crowd.limits
        excess, more = None, total - self.errors
        self.errors = total
        for _ in range(more):
            if not crowd.address_errors.take(self._key, limits.address_errors, now):
                excess = Excess.ADDRESS_ERRORS
            if self.client and not crowd.client_errors.take(self.client, limits.client_errors, now):
                excess = Excess.CLIENT_ERRORS
        return excess

    def has_erred_too_often(self, client: str, now: float) -> bool:
        """Whether a client has no errors left this minute."""
        crowd = self._crowd
        return crowd.client_errors.is_spent(client, crowd.limits.client_errors, now)

    def log_in(self, client: str, most: int) -> bool:
        """Count it under a client, where that has fewer than `most`."""
        if self._is_left or self._crowd.by_client[client] >= most:
            return False
        self._crowd.by_client[client] += 1
        self.client = client
        return True

    def is_within(self, most: int) -> bool:
        """Whether its client has no more than `most` connections, after `most` was lowered."""
        return self._crowd.by_client[self.client] <= most

    def leave(self) -> None:
        """Count it no more."""
        if self._is_left:
            return
        self._is_left = True
        crowd = self._crowd
        crowd.count -= 1
        _count_down(crowd.by_address, self._key)
        _count_down(crowd.by_client, self.client)


def _count_down(counts: Counter[str], key: str) -> None:
    if key in counts:
        counts[key] -= 1
        if counts[key] <= 0:
            del counts[key]
