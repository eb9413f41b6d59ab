"""Bounds the time that reading the counts takes: a share of all time, and a burst. Pure."""

from __future__ import annotations


class Pace:
    """What was taken, less what was allowed since. Times in seconds.

    In any time t, at most `burst_s` + `share` x t and the last reading are taken, if each reading
    waits for wait_s(). But no wait is longer than `most_s`: one reading that took very long, as in
    a process that was paused, must not delay the others for hours. So readings that take longer
    than `share` x `most_s` begin every `most_s`.
    """

    def __init__(self, share: float, burst_s: float, most_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        self._most_debt_s = burst_s + share * most_s
        self._debt_s = 0.0
        self._at = 0.0

    def took(self, seconds: float, now: float) -> None:
        """Note a reading that ended now."""
        self._debt_s = min(self._debt(now) + seconds, self._most_debt_s)
        self._at = now

    def wait_s(self, now: float) -> float:
        """How long to wait before the next one."""
        return max(0.0, (self._debt(now) - self._burst_s) / self._share)

    def _debt(self, now: float) -> float:
        return max(0.0, self._debt_s - self._share * max(0.0, now - self._at))
