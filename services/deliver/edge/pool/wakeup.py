"""Calls a function once, at the earliest of the requested times.

This class stores the time and does not read it from the loop's handle. The reason is that uvloop's
call_at() returns a handle without when() if the time has already passed, for example after a pause
of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Wakeup:
    """One timer of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
        self._loop = loop
        self._call = call
        self._at = float("-inf")
        self._handle: asyncio.Handle | None = None

    def ask(self, at: float) -> None:
        """Call the function at this time of the loop's clock, or at an earlier requested time."""
        if self._loop.time() < self._at <= at:
            return
        self.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._call)

    def cancel(self) -> None:
        """Cancel the call."""
        self._at = float("-inf")
        if self._handle is not None:
            self._handle.cancel()
