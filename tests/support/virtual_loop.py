"""An event loop whose time jumps to the next timer, so that minutes pass at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.SelectSelector):
    """Does not wait, but advances the time by the requested wait."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.passed_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop without sockets. `pause()` advances the time as if the process were stopped."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return 1_000.0 + self._skipping.passed_s

    def _run_once(self) -> None:
        # asyncio may run a timer early, by less than its resolution. If no time passed, code that
        # checks whether its time has come would check again and again.
        scheduled, resolution_s = self._scheduled, self._clock_resolution  # type: ignore[attr-defined]
        if scheduled and 0 < scheduled[0].when() - self.time() <= resolution_s:
            self._skipping.passed_s += resolution_s
        super()._run_once()  # type: ignore[misc]

    def pause(self, seconds: float) -> None:
        """Let time pass in which nothing runs."""
        self._skipping.passed_s += seconds


def run_virtually(test: Coroutine[Any, Any, T]) -> T:
    """Run a test whose time is virtual."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test)
