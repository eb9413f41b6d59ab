"""The permission for an attempt that must be recorded before the message is offered."""

from __future__ import annotations

from collections.abc import Callable

from services.deliver.edge.pool.delivery import Permission


class Recorded(Permission):
    """Waits until the test says that the message is on record."""

    def __init__(self) -> None:
        self.ready: Callable[[bool], None] | None = None
        self.is_recorded = False
        self.has_begun = False

    def __call__(self) -> bool:
        self.has_begun = True
        return True

    def prepare(self, ready: Callable[[bool], None]) -> bool:
        self.ready = ready
        return not self.is_recorded

    def record(self, may_go: bool = True) -> None:
        assert self.ready is not None
        self.is_recorded = may_go
        self.ready(may_go)
