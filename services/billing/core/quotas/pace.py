"""Bounds the time that reading the counts takes: a share of all time, and a burst. Pure."""

from __future__ import annotations


class Pace:
    """What was taken, less what was allowed since. Times in seconds.

    In any time t, at most `burst_s` + `share` x t and the last reading are taken, if each reading
    waits for wait_s().
    """

    def __init__(self, share: float, burst_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        self._debt_s = 0.0
        self._at = 0.0

    def took(self, seconds: float, now: float) -> None:
        """Note a reading that ended now."""
        self._debt_s = self._debt(now) + seconds
        self._at = now

    def wait_s(self, now: float) -> float:
        """How long to wait before the next one."""
        return max(0.0, (self._debt(now) - self._burst_s) / self._share)

    def _debt(self, now: float) -> float:
        return max(0.0, self._debt_s - self._share * (now - self._at))
