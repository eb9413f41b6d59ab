"""Runs what may take long (a look-up in Kafka, a question to Redis) in threads of its own.

Guarantees: nothing runs or waits beyond the bounds, so what is slow never takes the threads of
other routes, and one key never takes all threads. A caller waits no longer than `timeout_s`; the
thread ends by the bound of its own task.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from services.validate.core.platform_api.requests import Busy

T = TypeVar("T")


class Workers:
    """Threads for one kind of task. run() belongs to one event loop."""

    def __init__(self, name: str, most: int, timeout_s: float) -> None:
        """`most` tasks run at a time; a key may have half of them."""
        self._name = name
        self._most = most
        self._timeout_s = timeout_s
        self._running: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, owner: str, task: Callable[[], T]) -> T:
        """Run a task for this key. Raises Busy, and whatever the task raises."""
        is_full = self._running.total() >= self._most
        if is_full or self._running[owner] >= max(1, self._most // 2):
            raise Busy(f"too many {self._name} at a time; try again")
        self._running[owner] += 1
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, task)
        running.add_done_callback(lambda _: self._ended(owner))
        try:
            return await asyncio.wait_for(asyncio.shield(running), self._timeout_s)
        except TimeoutError:
            running.add_done_callback(_forget)
            raise Busy(f"{self._name}: no answer in {self._timeout_s:g} s") from None

    def close(self) -> None:
        """Begin no further task; running tasks end by their own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]


def _forget(running: asyncio.Future[Any]) -> None:
    # Nobody waits for it any more; its exception is not one of the loop.
    if not running.cancelled():
        running.exception()
