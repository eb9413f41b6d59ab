"""What the planner knows of one connection."""

from __future__ import annotations

from typing import Generic

from services.deliver.core.pool.steps import M
from services.deliver.core.pool.waiting import Gate


class ConnectionState(Generic[M]):
    """A connection, and the message that it carries. Times are seconds of one monotonic clock."""

    __slots__ = ("added_at", "gate", "idle_until", "is_idle", "messages", "started_at")

    def __init__(self) -> None:
        self.is_idle = False
        self.idle_until = 0.0
        self.messages = 0  # transactions started
        self.added_at = 0.0  # when the message under way was added
        self.gate: Gate[M] | None = None  # of that message
        self.started_at = 0.0  # and when its transaction began
