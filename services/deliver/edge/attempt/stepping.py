"""Runs coroutines on the event loop without an asyncio task for each.

An asyncio task begins in a later turn of the event loop. Moreover, asyncio adds the task to a set
of weak references, and this step is slow. Here a coroutine begins at once, in the callback that
starts it. It continues in a callback of the future that it awaits. So an attempt that waits once
takes only one further turn.

Does not own: the faults of a coroutine. A coroutine must catch its own exceptions. An uncaught
exception ends the coroutine and is raised in the callback, so that the event loop logs it. If a
future is cancelled, the coroutine that awaits the future ends, as a task would.

Limits: asyncio.current_task() is None in such a coroutine. So the coroutine can await futures,
tasks, asyncio.wait() and asyncio.shield(), but not asyncio.timeout(). The coroutine cannot be
cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Steps:
    """The running coroutines of one event loop. Use it in that loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # These references are needed. Without them, a coroutine would be garbage-collected together
        # with the future that it awaits.
        self._running: set[_Steps] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine up to its first wait, and continue the coroutine after each wait."""
        steps = _Steps(coroutine, self._loop, self._running)
        self._running.add(steps)
        steps.go_on()


class _Steps:
    """One coroutine."""

    __slots__ = ("_coroutine", "_loop", "_running")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop,
        running: set[_Steps],
    ) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._running = running

    def go_on(self, _awaited: object = None) -> None:
        """Run the coroutine up to its next wait."""
        try:
            # No value is sent, because the coroutine gets the result or the exception from the
            # future itself.
            awaited = self._coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._running.discard(self)
        except BaseException:
            self._running.discard(self)
            raise
        else:
            if awaited is None:  # asyncio.sleep(0)
                self._loop.call_soon(self.go_on)
                return
            # A future sets this flag when it is awaited. The code that waits for the future must
            # clear the flag.
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self.go_on)
