"""How many connections there are, and errors on them: in all, by address, by client. Pure.

Owns: the counts and the limits on them. Does not own: what is answered (replies.py), the time.
Memory: the counts hold what is open; what is counted by the minute is an access.Rate each.

A connection that has not logged in counts against two lower limits, so that the places beyond them
are kept for those that have. If all places before login are taken, the oldest one of the address
that has most of them is ended for the new one: whoever holds the most places loses them first, and
a new address can always try to log in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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
    BEFORE_LOGIN = "before login"
    ADDRESS_BEFORE_LOGIN = "address before login"


class CrowdLimits(Struct, frozen=True):
    """Open connections, of those from one address; by the minute (0: any number) new ones of one
    address, errors of one address, errors of one logged-in client; open connections that have not
    logged in, and of those from one address."""

    connections: int
    per_address: int
    per_address_minute: int
    address_errors: int = 0
    client_errors: int = 0
    before_login: int = 100_000
    per_address_before_login: int = 100_000


class Crowd:
    """The open connections of one front door."""

    def __init__(self, limits: CrowdLimits) -> None:
        self.limits = limits
        self.count = 0
        self.by_address: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()
        # Those that have not logged in, by address, each in the order in which they came.
        self._before_login: dict[str, dict[Place, None]] = {}
        self.before_login = 0
        self.new = Rate()
        self.address_errors = Rate()
        self.client_errors = Rate()

    def enter(self) -> Place | None:
        """A place for a connection whose address may not be known yet; None: there is none."""
        if self.count >= self.limits.connections:
            return None
        self.count += 1
        return Place(self)

    def admit(self, place: Place, key: str) -> Excess | None:
        """Count a place among those before login, ending another one if there are too many."""
        own = self._before_login.get(key, {})
        if len(own) >= self.limits.per_address_before_login:
            return Excess.ADDRESS_BEFORE_LOGIN
        if self.before_login >= self.limits.before_login:
            busiest = max(self._before_login.values(), key=len)
            if len(own) >= len(busiest):
                return Excess.BEFORE_LOGIN
            oldest = next(iter(busiest))
            oldest.identify()  # its place is given away before it has left
            oldest.displace()
        self._before_login.setdefault(key, {})[place] = None
        self.before_login += 1
        return None

    def identified(self, place: Place, key: str) -> None:
        """Count a place no longer among those before login."""
        own = self._before_login.get(key, {})
        if place not in own:
            return
        del own[place]
        self.before_login -= 1
        if not own:
            del self._before_login[key]


class Place:
    """One connection's place among them. After leave() it counts nowhere, and never again."""

    __slots__ = ("_crowd", "_is_left", "_key", "address", "client", "displace", "errors")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._is_left = False
        self._key = ""
        self.address = ""
        self.client = ""
        self.errors = 0
        # Ends the connection because its place before login goes to another one. Set by whoever
        # serves the connection at the time.
        self.displace: Callable[[], object] = _nothing

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
        return crowd.admit(self, key)

    def identify(self) -> None:
        """Count it no longer among those that have not logged in."""
        self._crowd.identified(self, self._key)

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
        self.identify()
        return True

    def is_within(self, most: int) -> bool:
        """Whether its client has no more than `most` connections, after `most` was lowered."""
        return self._crowd.by_client[self.client] <= most

    def leave(self) -> None:
        """Count it no more."""
        if self._is_left:
            return
        self._is_left = True
        self.identify()
        crowd = self._crowd
        crowd.count -= 1
        _count_down(crowd.by_address, self._key)
        _count_down(crowd.by_client, self.client)


def _nothing() -> None:
    """Nobody serves the connection yet."""


def _count_down(counts: Counter[str], key: str) -> None:
    if key in counts:
        counts[key] -= 1
        if counts[key] <= 0:
            del counts[key]
