"""Learns from refusals how many connections a site accepts at a time. Pure.

The limit works like TCP's congestion window (RFC 5681). A push back halves the limit, and a refused
connection lowers the limit to the number of working connections. In quiet times the limit doubles
until it reaches the last limit that is known to work. Above this value the limit grows by one
connection at a time.

A reply 421 is a push back. A connection that breaks before the reply to MAIL is a push back, too.
If a connection breaks later, the message may be the reason, for example if a content filter closes
the connection. Such a break counts as a push back only if most of the recent transactions ended in
this way, because one client's mail must not slow down the mail of the others.
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.attempt.results import Broken, TransactionResult, is_push_back

DOUBLE_S: Final = 10.0
ADD_S: Final = 60.0
# A break counts as a push back if the share of broken transactions is above MOST_BROKEN. The share
# is a moving average in which each transaction has the weight BROKEN_WEIGHT. So three broken
# transactions in a row are enough.
BROKEN_WEIGHT: Final = 0.25
MOST_BROKEN: Final = 0.5


class ConcurrencyLimit:
    """The limit of one site; it is never above `most`. Times are seconds of a monotonic clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = most
        # The limit doubles until it reaches this value.
        self._known = most
        self._changed_at = 0.0

    def at(self, now: float) -> int:
        """Return the limit at this time. The limit grows with each quiet interval."""
        self._limit, self._changed_at = self._grown(now)
        return self._limit

    def expected(self, at: float) -> int:
        """Return the limit that will apply at a later time, unless the site pushes back again."""
        return self._grown(at)[0]

    def _grown(self, at: float) -> tuple[int, float]:
        """Return the limit at this time, and the time of its last change."""
        limit, changed_at = self._limit, self._changed_at
        while limit < self._most:
            interval = DOUBLE_S if limit < self._known else ADD_S
            if at - changed_at < interval:
                break
            changed_at += interval
            limit = min(2 * limit, self._known) if limit < self._known else limit + 1
        return limit, changed_at

    def is_full(self, now: float) -> bool:
        """Return True if the limit was never lowered, or has recovered since it was lowered."""
        return self.at(now) == self._most

    def works(self, connections: int) -> None:
        """Record that the site has accepted this many connections."""
        self._limit = max(self._limit, connections)
        self._known = max(self._known, connections)

    def refused(self, working: int, now: float) -> None:
        """Record that the site refused a connection while `working` other connections were open."""
        limit = self.at(now)
        self._known = working or max(1, limit // 2)
        self._lower(max(1, working), now)

    def pushed_back(self, now: float) -> None:
        """Record that the site wants fewer connections."""
        self._known = max(1, self.at(now) // 2)
        self._lower(self._known, now)

    def _lower(self, limit: int, now: float) -> None:
        self._limit = limit
        self._changed_at = now


class PushBacks:
    """Decides whether the result of a transaction with one site counts as a push back."""

    def __init__(self) -> None:
        self._broken = 0.0

    def is_one(self, result: TransactionResult) -> bool:
        """Record the end of a transaction; return True if this end is a push back of the site."""
        if not is_push_back(result):
            self._broken *= 1 - BROKEN_WEIGHT
            return False
        if isinstance(result, Broken) and (result.answered or result.in_doubt):
            self._broken += BROKEN_WEIGHT * (1 - self._broken)
            return self._broken > MOST_BROKEN
        return True
