"""How many connections a site takes at a time, learned from its refusals. Pure.

Like TCP's congestion window (RFC 5681): a push back (push_backs.py) halves the limit, a refused
connection lowers it to the connections that work. In quiet times it doubles up to the limit that
was last known to work; beyond that one more connection at a time is tried.
"""

from __future__ import annotations

from typing import Final

DOUBLE_S: Final = 10.0
ADD_S: Final = 60.0


class ConcurrencyLimit:
    """The limit of one site, at most `most`. Times are seconds of one monotonic clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = most
        # Up to here the limit doubles.
        self._known = most
        self._changed_at = 0.0

    def at(self, now: float) -> int:
        """The limit at this time, which grows with each quiet interval."""
        self._limit, self._changed_at = self._grown(now)
        return self._limit

    def expected(self, at: float) -> int:
        """The limit at a later time, if the site pushes back no more until then."""
        return self._grown(at)[0]

    def _grown(self, at: float) -> tuple[int, float]:
        """The limit at this time, and when it changed."""
        limit, changed_at = self._limit, self._changed_at
        while limit < self._most:
            interval = DOUBLE_S if limit < self._known else ADD_S
            if at - changed_at < interval:
                break
            changed_at += interval
            limit = min(2 * limit, self._known) if limit < self._known else limit + 1
        return limit, changed_at

    def is_full(self, now: float) -> bool:
        """Whether the limit has not been lowered, or has recovered."""
        return self.at(now) == self._most

    def works(self, connections: int) -> None:
        """The site has accepted this many connections."""
        self._limit = max(self._limit, connections)
        self._known = max(self._known, connections)

    def refused(self, working: int, now: float) -> None:
        """The site has refused a connection while it served `working` others."""
        limit = self.at(now)
        self._known = working or max(1, limit // 2)
        self._lower(max(1, working), now)

    def pushed_back(self, now: float) -> None:
        """The site wants fewer connections."""
        self._known = max(1, self.at(now) // 2)
        self._lower(self._known, now)

    def _lower(self, limit: int, now: float) -> None:
        self._limit = limit
        self._changed_at = now
