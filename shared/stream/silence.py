"""Whether the process that writes a topic for all has stopped, judged by the marks that it writes.

Several processes can do the same work, and one of them does: it writes a mark with each turn. The
others look at the marks and take over when no new one comes. That two of them take over at once, or
one while the writer was only paused, does no harm: they share a transactional id, and opening it
fences whoever had it (transactions.py).
"""

from __future__ import annotations

from shared.runtime.clock import Clock


class Silence:
    """The last mark that was seen, and when it was first seen. For one thread."""

    def __init__(self, clock: Clock, after_s: float) -> None:
        """`after_s`: the writer has stopped if its last mark is older than that."""
        self._clock = clock
        self._after_s = after_s
        self._seen: tuple[object, float] | None = None

    def has_begun(self, mark: object, longer_s: float = 0.0) -> bool:
        """Whether no other process has written for a while. `mark`: the last one; None: none yet.

        Where nothing was ever written the first look is enough. `longer_s`: how much longer than
        `after_s` a writer may take for a turn.
        """
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != mark:
            is_first = self._seen is None
            self._seen = (mark, now)
            return is_first and mark is None
        return now - self._seen[1] >= self._after_s + longer_s

    def restart(self, mark: object) -> None:
        """Begin to wait now: another process has just taken over."""
        self._seen = (mark, self._clock.monotonic())

    def forget(self) -> None:
        """Look as if for the first time."""
        self._seen = None
