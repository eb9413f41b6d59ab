"""A cache of DNS answers: one look-up at a time per name; stale answers when the DNS fails.

An answer is fresh for its TTL within bounds, and is kept to be served stale when the DNS fails.
Owns: the answers (MAX_CACHED names). Does not own: the queries (resolver.py).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from services.deliver.core.routing.sites import Unresolved

MAX_CACHED: Final = 50_000
MIN_TTL_S: Final = 30.0
MAX_TTL_S: Final = 3_600.0

T = TypeVar("T")

# Looks up a name: the answer and its TTL in seconds. Raises nothing.
LookUp = Callable[[str], Coroutine[Any, Any, tuple[T | Unresolved, float]]]


class AnswerCache(Generic[T]):
    """The answers of one kind of look-up."""

    def __init__(self, monotonic: Callable[[], float], look_up: LookUp[T]) -> None:
        self._monotonic = monotonic
        self._look_up = look_up
        self._answers: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[T | Unresolved]] = {}

    def fresh(self, name: str) -> T | None:
        """A fresh answer that needs no look-up."""
        found = self._answers.get(name)
        return found[1] if found is not None and found[0] > self._monotonic() else None

    async def get(self, name: str) -> T | Unresolved:
        """The answer from the cache or the DNS."""
        found = self.fresh(name)
        if found is not None:
            return found
        task = self._asking.get(name)
        if task is None:
            task = asyncio.ensure_future(self._ask(name))
            self._asking[name] = task
            task.add_done_callback(lambda _done: self._asking.pop(name, None))
        return await asyncio.shield(task)

    async def _ask(self, name: str) -> T | Unresolved:
        asked_at = self._monotonic()  # the TTL runs from here, however long the answer takes
        answer, ttl_s = await self._look_up(name)
        if isinstance(answer, Unresolved):
            stale = self._answers.get(name)
            return stale[1] if stale is not None else answer
        bounded_s = min(max(ttl_s, MIN_TTL_S), MAX_TTL_S)
        self._answers[name] = (asked_at + bounded_s, answer)
        self._answers.move_to_end(name)
        if len(self._answers) > MAX_CACHED:
            self._answers.popitem(last=False)
        return answer
