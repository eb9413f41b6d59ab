"""In-memory twins of the stores of leases and suspensions; a contract test checks both."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence

from shared.store.client import StoreUnavailable
from shared.store.leases import ALIVE_MS, GRACE_MS, SLOTS, Answer, Caller, Lease, Request
from shared.store.suspensions import SharedState

# A difference of a thousandth of a message is a rounding error, as in leases.lua.
_ROUNDING = 0.001


class MemoryLeases:
    """The leases of all workers.

    `time` returns seconds; without it, the test sets `now_ms`. `is_away` makes each call fail;
    `takes_s` is the duration of a call.
    """

    def __init__(self, time: Callable[[], float] | None = None) -> None:
        self.now_ms = "0"
        self._time = time
        self.is_away = False
        self.takes_s = 0.0
        self.flush()

    def flush(self) -> None:
        """Delete all data."""
        self._epoch = ""
        self._since = 0.0
        self._workers: dict[str, float] = {}
        self._full_at: dict[str, float] = {}
        self._windows: dict[str, dict[int, float]] = {}

    def used(self, key: str) -> float:
        """Return the used amount of a window."""
        return sum(self._windows.get(key, {}).values())

    async def ask(self, caller: Caller, requests: Sequence[Request]) -> Answer:
        now = await self._called()
        if not self._epoch:
            self._epoch, self._since = caller.new_epoch, now
        elif caller.was_away and now - self._since > GRACE_MS:
            self._since = now
        self._workers[caller.worker] = now
        self._workers = {name: at for name, at in self._workers.items() if at >= now - ALIVE_MS}
        left = max(0, math.ceil(self._since + GRACE_MS - now))
        answer = tuple(
            self._from_window(each, now, left) if each.is_window else self._rate(each, now, left)
            for each in requests
        )
        return Answer(self._epoch, left, len(self._workers), answer)

    async def restore(self, key: str, period_ms: int, used: Mapping[int, float]) -> None:
        await self._called()
        window = self._windows.setdefault(key, {})
        for slot, amount in used.items():
            window[slot] = window.get(slot, 0.0) + amount

    async def _called(self) -> float:
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise StoreUnavailable("Redis: unavailable")
        return self._time() * 1_000 if self._time else float(self.now_ms)

    def _rate(self, request: Request, now: float, left: int) -> Lease:
        each = request.period_ms / request.amount
        full_at = max(now, self._full_at.get(request.key, 0.0) - request.returned * each)
        free = request.burst - (full_at - now) / each
        granted = 0.0
        if not left and request.wanted and free + _ROUNDING >= min(request.needed, request.burst):
            granted = max(min(request.wanted, math.floor(free + _ROUNDING)), request.needed)
            full_at += granted * each
        self._full_at[request.key] = full_at
        free = request.burst - (full_at - now) / each
        following = min(max(request.needed, request.wanted / 2), request.burst)
        return Lease(int(granted), max(0, math.ceil((following - free) * each)))

    def _from_window(self, request: Request, now: float, left: int) -> Lease:
        width = request.period_ms / SLOTS
        slot = int(now // width)
        window = self._windows.setdefault(request.key, {})
        for old in [each for each in window if each < slot - SLOTS]:
            del window[old]
        if request.slot in window:
            window[request.slot] = max(0.0, window[request.slot] - request.returned)
        used = sum(window.values())
        granted, wait_ms, free = 0.0, 0, request.amount - used
        if not left and request.wanted:
            if free >= request.needed or not used:
                granted = max(min(request.wanted, math.floor(free)), request.needed)
                window[slot] = window.get(slot, 0.0) + granted
            else:
                oldest = min((at for at, amount in window.items() if amount > 0), default=slot)
                wait_ms = math.ceil((oldest + SLOTS + 1) * width - now)
        return Lease(int(granted), wait_ms, math.ceil(used + granted), slot)


class MemoryStates:
    """The suspensions of all workers."""

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {}

    async def exchange(self, state: SharedState | None = None) -> list[str]:
        if state is not None:
            known = json.loads(self._states.get(state.key, b'{"until": 0}'))["until"]
            if state.is_forced or known <= state.until:
                self._states[state.key] = state.text
        return [text.decode() for text in self._states.values()]
