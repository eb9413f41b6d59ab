"""What one worker sends under one limit while the store cannot be asked: its share. Pure.

Owns: when the next message may go by a rate, what is left of a window. Does not own: when the share
counts (allowance.py). Guarantees: a share begins empty. Times are monotonic seconds.
"""

from __future__ import annotations

from services.deliver.core.shaping.workers import NEVER


class LocalShare:
    """The share of one limit; `is_used` says whether it counts now."""

    __slots__ = ("is_used", "left", "next_at")

    def __init__(self) -> None:
        self.is_used = False
        self.next_at = -NEVER
        self.left = 0.0

    def begin(self, now: float, per_s: float, left: float) -> None:
        """It counts from now on. `per_s`: the share of a rate; `left`: of a window."""
        self.is_used = True
        self.next_at = max(self.next_at, now + 1 / per_s)
        self.left = max(0.0, left)

    def take(self, now: float, cost: float, per_s: float, burst_s: float) -> None:
        """Take it of a rate; what was not sent in `burst_s` is lost."""
        self.next_at = max(self.next_at, now - burst_s) + cost / per_s
