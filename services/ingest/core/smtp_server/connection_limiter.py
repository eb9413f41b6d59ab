"""Limits the number of open connections and of refused commands, in total, per address and per
client. This module does no I/O.

This module owns the counts and their limits. It does not own the replies (replies.py). The caller
passes the present time. Memory is bounded, because the counts contain only open connections, and
each count per minute is a rates.Rate.

For connections that have not logged in, there are two lower limits. So the remaining slots are
reserved for clients that have logged in. If too many connections have not logged in, a new
connection evicts one of them. The evicted connection is the oldest one of the address that has the
most such connections. So an address with many idle connections loses its connections first, and a
new address can always try to log in.
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

    `connections` limits all open connections, and `per_address` limits the open connections from
    one address. Three fields are limits per minute, where 0 means no limit: `per_address_minute`
    limits the new connections from one address, `address_errors` limits the errors of one address,
    and `client_errors` limits the errors of one logged-in client. `before_login` limits all open
    connections that have not logged in, and `per_address_before_login` limits such connections from
    one address.
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
        """Return a slot for a connection of unknown address, or None if all are used."""
        if self.count >= self.limits.connections:
            return None
        self.count += 1
        return ConnectionSlot(self)

    def try_admit(self, slot: ConnectionSlot, key: str) -> LimitExceeded | None:
        """Count a slot as not logged in. If too many slots are not logged in, evict the connection
        of another slot, or return the exceeded limit."""
        own = self._before_login.get(key, {})
        if len(own) >= self.limits.per_address_before_login:
            return LimitExceeded.ADDRESS_BEFORE_LOGIN
        if self.before_login >= self.limits.before_login:
            busiest = max(self._before_login.values(), key=len)
            if len(own) >= len(busiest):
                return LimitExceeded.BEFORE_LOGIN
            oldest = next(iter(busiest))
            oldest.mark_identified()  # the slot is free at once, whereas closing takes longer
            oldest.evict()
        self._before_login.setdefault(key, {})[slot] = None
        self.before_login += 1
        return None

    def count_identified(self, slot: ConnectionSlot, key: str) -> None:
        """Remove this slot from the slots that have not logged in."""
        own = self._before_login.get(key, {})
        if slot not in own:
            return
        del own[slot]
        self.before_login -= 1
        if not own:
            del self._before_login[key]


class ConnectionSlot:
    """The slot of one connection. After release() the slot is never counted again."""

    __slots__ = ("_is_released", "_key", "_limiter", "address", "client", "errors", "evict")

    def __init__(self, limiter: ConnectionLimiter) -> None:
        self._limiter = limiter
        self._is_released = False
        self._key = ""
        self.address = ""
        self.client = ""
        self.errors = 0
        # A function that closes the connection to free its slot. The code that serves the
        # connection sets this function.
        self.evict: Callable[[], object] = _nothing

    def try_assign(self, address: str, now: float) -> LimitExceeded | None:
        """Count the slot for its address. Return the exceeded limit, or None. Must be called only
        once."""
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
        """Remove this slot from the slots that have not logged in."""
        self._limiter.count_identified(self, self._key)

    def count_errors(self, total: int, now: float) -> LimitExceeded | None:
        """Set the total number of refused commands of this connection. Return the exceeded limit,
        or None."""
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
        """Return True if a client has reached its limit of errors per minute."""
        limiter = self._limiter
        return limiter.client_errors.is_spent(client, limiter.limits.client_errors, now)

    def try_log_in(self, client: str, most: int) -> bool:
        """Count the slot for a client. Return False if the client already has `most` slots."""
        if self._is_released or self._limiter.by_client[client] >= most:
            return False
        self._limiter.by_client[client] += 1
        self.client = client
        self.mark_identified()
        return True

    def is_within(self, most: int) -> bool:
        """Return True if the client has at most `most` connections.

        The result may be False if the limit was lowered after the login.
        """
        return self._limiter.by_client[self.client] <= most

    def release(self) -> None:
        """Free the slot."""
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
