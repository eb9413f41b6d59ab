"""Limits how often one key, or one peer, may ask: a token bucket each. Pure.

A bucket holds the requests of one minute and fills evenly. The number of buckets is bounded: the
one that was not used for the longest time is dropped, which is as good as full.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

MAX_BUCKETS: Final = 10_000


class RateLimiter:
    """Buckets by name. `per_minute`: 0 for no limit. For one thread."""

    def __init__(self, per_minute: int, most: int = MAX_BUCKETS) -> None:
        self._per_minute = per_minute
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def try_acquire(self, name: str, now: float) -> int:
        """Take one token; return 0, or the seconds after which there is one again."""
        wait_s = self.wait_for(name, now)
        if self._per_minute:
            tokens = self._tokens(name, now)
            self._buckets.pop(name, None)
            self._buckets[name] = (tokens if wait_s else tokens - 1, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        return wait_s

    def wait_for(self, name: str, now: float) -> int:
        """The same without taking a token."""
        if not self._per_minute or (tokens := self._tokens(name, now)) >= 1:
            return 0
        return math.ceil((1 - tokens) * 60 / self._per_minute)

    def _tokens(self, name: str, now: float) -> float:
        full = float(self._per_minute)
        tokens, at = self._buckets.get(name, (full, now))
        return min(full, tokens + max(0.0, now - at) * self._per_minute / 60)
