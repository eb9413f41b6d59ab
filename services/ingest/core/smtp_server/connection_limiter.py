"""Limits open connections and refused commands, in all, per address and per client. Pure.

Owns: the counts and their limits. Does not own: replies (replies.py), the time. Memory: the counts
contain only open connections; each count per minute is a rates.Rate.

A connection that has not logged in also counts against two lower limits, so that the remaining
slots are reserved for clients that have logged in. If all slots before login are in use, a new
connection evicts the oldest connection of the address with the most such slots. So an address with
many idle connections loses them first, and a new address can always try to log in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from services.ingest.core.smtp_server.rates import Rate, counted_as


class LimitExceeded(StrEnum):
    """The limit that a connection exceeds."""

    ALL = "all"
    ADDRESS = "address"
    MINUTE = "minute"
    ADDRESS_ERRORS = "address errors"
    CLIENT_ERRORS = "client errors"
    BEFORE_LOGIN = "before login"
    ADDRESS_BEFORE_LOGIN = "address before login"


class ConnectionLimits(Struct, frozen=True):
    """The limits of one server.

    `connections` and `per_address` limit the open connections, in all and from one address. The
    next three are limits per minute (0 means no limit): new connections from one address, errors of
    one address, errors of one logged-in client. The last two limit the open connections that have
    not logged in, in all and from one address.
    """

    connections: int
    per_address: int
    per_address_minute: int
    address_errors: int = 0
    client_errors: int = 0
    before_login: int = 100_000
    per_address_before_login: int = 100_000


class ConnectionLimiter:
    """Counts the open connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.count = 0
        self.by_address: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()
        # The slots that have not logged in, by address, in the order of their admission.
        self._before_login: dict[str, dict[ConnectionSlot, None]] = {}
        self.before_login = 0
        self.new = Rate()
        self.address_errors = Rate()
        self.client_errors = Rate()

    def try_acquire(self) -> ConnectionSlot | None:
        """Return a slot for a connection of unknown address, or None if all slots are taken."""
        if self.count >= self.limits.connections:
            return None
        self.count += 1
        return ConnectionSlot(self)

    def try_admit(self, slot: ConnectionSlot, key: str) -> LimitExceeded | None:
        """Count a slot as not logged in; if there are too many such slots, evict another one."""
        own = self._before_login.get(key, {})
        if len(own) >= self.limits.per_address_before_login:
            return LimitExceeded.ADDRESS_BEFORE_LOGIN
        if self.before_login >= self.limits.before_login:
            busiest = max(self._before_login.values(), key=len)
            if len(own) >= len(busiest):
                return LimitExceeded.BEFORE_LOGIN
            oldest = next(iter(busiest))
            oldest.mark_identified()  # the slot is free at once; closing takes longer
            oldest.evict()
        self._before_login.setdefault(key, {})[slot] = None
        self.before_login += 1
        return None

    def count_identified(self, slot: ConnectionSlot, key: str) -> None:
        """Stop counting a slot as not logged in."""
        own = self._before_login.get(key, {})
        if slot not in own:
            return
        del own[slot]
        self.before_login -= 1
        if not own:
            del self._before_login[key]


class ConnectionSlot:
    """The slot of one connection. After release() it is never counted again."""

    __slots__ = ("_is_released", "_key", "_limiter", "address", "client", "errors", "evict")

    def __init__(self, limiter: ConnectionLimiter) -> None:
        self._limiter = limiter
        self._is_released = False
        self._key = ""
        self.address = ""
        self.client = ""
        self.errors = 0
        # A function that closes the connection to free its slot. The code that serves the
        # connection sets it.
        self.evict: Callable[[], object] = _nothing

    def try_assign(self, address: str, now: float) -> LimitExceeded | None:
        """Count the slot under its address, once. Return the exceeded limit, or None."""
        limiter, key = self._limiter, counted_as(address)
        self.address, self._key = address, key
        limiter.by_address[key] += 1
        if limiter.by_address[key] > limiter.limits.per_address:
            return LimitExceeded.ADDRESS
        if limiter.address_errors.is_spent(key, limiter.limits.address_errors, now):
            return LimitExceeded.ADDRESS_ERRORS
        if not limiter.new.try_take(key, limiter.limits.per_address_minute, now):
            return LimitExceeded.MINUTE
        return limiter.try_admit(self, key)

    def mark_identified(self) -> None:
        """Stop counting the slot as not logged in."""
        self._limiter.count_identified(self, self._key)

    def count_errors(self, total: int, now: float) -> LimitExceeded | None:
        """Set the total of refused commands. Return the exceeded limit, or None."""
        limiter, limits = self._limiter, self._limiter.limits
        excess, more = None, total - self.errors
        self.errors = total
        for _ in range(more):
            if not limiter.address_errors.try_take(self._key, limits.address_errors, now):
                excess = LimitExceeded.ADDRESS_ERRORS
            if self.client and not limiter.client_errors.try_take(
                self.client, limits.client_errors, now
            ):
                excess = LimitExceeded.CLIENT_ERRORS
        return excess

    def has_erred_too_often(self, client: str, now: float) -> bool:
        """Return whether a client has reached its limit of errors per minute."""
        limiter = self._limiter
        return limiter.client_errors.is_spent(client, limiter.limits.client_errors, now)

    def try_log_in(self, client: str, most: int) -> bool:
        """Count the slot under a client. Return False if the client already has `most` slots."""
        if self._is_released or self._limiter.by_client[client] >= most:
            return False
        self._limiter.by_client[client] += 1
        self.client = client
        self.mark_identified()
        return True

    def is_within(self, most: int) -> bool:
        """Return whether the client has at most `most` connections.

        The limit `most` may have been lowered after the login.
        """
        return self._limiter.by_client[self.client] <= most

    def release(self) -> None:
        """Stop counting the slot."""
        if self._is_released:
            return
        self._is_released = True
        self.mark_identified()
        limiter = self._limiter
        limiter.count -= 1
        _count_down(limiter.by_address, self._key)
        _count_down(limiter.by_client, self.client)


def _nothing() -> None:
    """Do nothing, because no code serves the connection yet."""


def _count_down(counts: Counter[str], key: str) -> None:
    if key in counts:
        counts[key] -= 1
        if counts[key] <= 0:
            del counts[key]
