"""How fast the lanes are read: while a lane's provider takes no more mail, it stays in Kafka. Pure.

A lane of one provider is its queue: mail that its limit does not allow soon (room.py) stays unread,
and while the provider is suspended nothing is read. So a backlog of any length costs neither memory
nor a second copy. A lane whose mail goes to several destinations, such as `default`, is read on:
mail that cannot be sent is deferred until its turn (throttle.py), and delays no other mail.

Two threads use this: the reading thread calls hold_s() and handed(), the loop calls the others.
Each operation on a set or dict is atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final

from services.deliver.core.shaping.room import for_new
from services.deliver.core.shaping.suspensions import Suspensions

DEFAULT_LANE: Final = "default"
# How often a lane that is not read is looked at again.
LOOK_S: Final = 0.1
SUSPENDED_LOOK_S: Final = 1.0
# How long a lane counts as mixed after mail for a second destination.
MIXED_S: Final = 600.0


class _Lane:
    __slots__ = ("key", "mixed_until", "per_s", "waiting")

    def __init__(self) -> None:
        self.key = ""
        self.mixed_until = 0.0
        self.per_s = 0.0
        # Messages that were handed out and have not begun.
        self.waiting: set[Hashable] = set()


class LaneHolds:
    """The state of each lane. `unix_now` returns Unix seconds."""

    def __init__(self, suspensions: Suspensions, unix_now: Callable[[], float]) -> None:
        self._suspensions = suspensions
        self._now = unix_now
        self._lanes: dict[str, _Lane] = {}

    def is_of_one(self, lane: str, key: str, per_s: float) -> bool:
        """Note a destination of this lane; return whether all its mail goes there.

        `per_s`: how much this worker may send there; 0: any amount.
        """
        if not lane or lane == DEFAULT_LANE:
            return False
        state = self._lane(lane)
        if state.key != key:
            if state.key:
                state.mixed_until = self._now() + MIXED_S
            state.key = key
        state.per_s = per_s
        return self._now() >= state.mixed_until

    def handed(self, lane: str, jobs: Iterable[Hashable]) -> None:
        """Count messages of a lane that were handed out."""
        self._lane(lane).waiting.update(jobs)

    def begun(self, lane: str, job: Hashable) -> None:
        """Count off a message that no longer waits, whether it begins or not."""
        state = self._lanes.get(lane)
        if state is not None:
            state.waiting.discard(job)

    def hold_s(self, lane: str, more: int) -> float:
        """How long the lane is not read; 0.0: it is read. `more`: about to be handed out."""
        state = self._lanes.get(lane)
        if state is None or not state.key:
            return 0.0
        now = self._now()
        if now < state.mixed_until:
            return 0.0
        found = self._suspensions.suspended((state.key,), now)
        if found is not None:
            return min(SUSPENDED_LOOK_S, max(LOOK_S, found.until - now))
        is_full = state.per_s and len(state.waiting) + more >= for_new(state.per_s)
        return LOOK_S if is_full else 0.0

    def _lane(self, name: str) -> _Lane:
        found = self._lanes.get(name)
        if found is None:
            found = self._lanes[name] = _Lane()
        return found
