"""Asks the store for leases and suspensions.

A separate task calls the store, so no caller waits for it. Owns: the calls, the decision whether
the store is available. Does not own: the rules for a worker without the store
(core/shaping/allowance.py). Guarantees: the client makes one call at a time, and a call takes at
most half a second. A worker that could not reach the store uses only its own share until all other
workers know of this worker again. An answer that comes too late is not used. So a pause of the
process makes only one call fail. A worker whose answers all come too late uses only its own share.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from services.deliver.core.shaping.allowance import Allowance
from services.deliver.core.shaping.suspensions import Suspension
from services.deliver.core.shaping.throttle import Throttle
from services.deliver.core.shaping.workers import NEVER, Grant
from shared.runtime.clock import Clock
from shared.runtime.errors import Unavailable
from shared.store.leases import ALIVE_MS, SLOTS, Answer, Caller, Request
from shared.store.suspensions import SharedState

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 1.0
# If a call takes longer, its answer is not used, because the process was probably paused.
LONGEST_CALL_S: Final = 0.5
# After this many late answers in a row, the cause is not a pause. Then the store or this process is
# too slow to share limits.
LATE_ANSWERS: Final = 3
# One call contains at most this many limits.
MAX_LIMITS: Final = 500


class Leases(Protocol):
    """The leases of all workers, as in shared/store/leases.py."""

    async def ask(self, caller: Caller, requests: Sequence[Request]) -> Answer:
        """Ask for leases. Raises StoreUnavailable."""
        ...

    async def restore(self, key: str, period_ms: int, used: dict[int, float]) -> None:
        """Add the used amount of a window to an emptied store. Raises StoreUnavailable."""
        ...


class States(Protocol):
    """The suspensions of all workers, as in shared/store/suspensions.py."""

    async def exchange(self, state: SharedState | None = None) -> list[str]:
        """Write `state` unless it is None, and return all states. Raises StoreUnavailable."""
        ...


class Stores(Struct, frozen=True):
    """The stores that the workers share."""

    leases: Leases
    states: States


class LeaseClient:
    """The calls of one worker. Use it in one event loop."""

    def __init__(
        self,
        throttle: Throttle,
        stores: Stores,
        worker: str,
        clock: Clock,
        on_grant: Callable[[], None],
    ) -> None:
        """`on_grant` is called after each answer, because waiting messages may then continue."""
        self._throttle = throttle
        self._stores = stores
        self._worker = worker
        self._clock = clock
        self._on_grant = on_grant
        self._wake = asyncio.Event()
        throttle.workers.on_want = self._wake.set
        self._to_share: dict[str, Suspension] = {}
        self._epoch = ""
        self._was_away = False
        self._late_answers = 0  # The number of late answers in a row.
        # The reason why the store cannot be used; "" if it can be used.
        self.fault = "not asked yet"

    def want(self) -> None:
        """Ask the store soon, because too little of a limit is left."""
        self._wake.set()

    def share(self, state: Suspension) -> None:
        """Report a suspension to the other workers."""
        self._to_share[state.key] = state
        self._wake.set()

    async def run(self) -> None:
        """Ask the store when a lease is wanted, and at least every second, until cancelled.

        redis-py uses asyncio.wait_for(), which in Python 3.11 drops a cancellation that arrives
        when the awaited future is done (bpo-42130). So the task itself checks whether it was
        cancelled.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        beat_at = 0.0
        while not task.cancelling():
            now = loop.time()
            try:
                if now >= beat_at or self._to_share:
                    beat_at = now + HEARTBEAT_S
                    await self._beat(loop)
                wanted = [] if self.fault else self._throttle.wanted(loop.time())
                if wanted:
                    await self._ask(loop, wanted[:MAX_LIMITS])
            except Exception as error:
                # The loop continues no matter what Redis answers, because without calls no
                # limit would ever be granted.
                if not isinstance(error, Unavailable):
                    log.exception("asking for limits failed; it is tried again")
                self._lost(str(error) or type(error).__name__)
                beat_at = loop.time() + HEARTBEAT_S
            await self._wait(beat_at - loop.time())

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        returned = [each for each in self._throttle.allowances if each.has_returned]
        await self._ask(loop, [each for each in returned if not each.is_asking][:MAX_LIMITS])
        texts = await self._exchange()
        at = self._clock.now_ms() / 1000
        states = [state for text in texts if (state := _read_state(text)) is not None]
        self._throttle.suspensions.merge(states, at)
        self._throttle.refresh(loop.time(), at)

    async def _exchange(self) -> list[str]:
        while self._to_share:
            key, state = next(iter(self._to_share.items()))
            text, until = msgspec.json.encode(msgspec.to_builtins(_in_full(state))), state.until
            await self._stores.states.exchange(SharedState(key, text, until, not until))
            if self._to_share.get(key) is state:
                del self._to_share[key]
        return await self._stores.states.exchange()

    async def _ask(self, loop: asyncio.AbstractEventLoop, limits: Sequence[Allowance]) -> None:
        asked_at = loop.time()
        requests = [_request(each, asked_at) for each in limits]
        caller = Caller(self._worker, secrets.token_hex(8), self._was_away)
        answer: Answer | None = None
        try:
            answer = await self._stores.leases.ask(caller, requests)
            answered_at = loop.time()
            if answered_at - asked_at > LONGEST_CALL_S:
                answer = None
        finally:
            # Even after a fault, these limits can be requested again, and the waiting pools must
            # check them again.
            if answer is None:
                for each in limits:
                    each.refused()
                self._on_grant()
        if answer is None:
            self._late_answers += 1
            if self._late_answers >= LATE_ANSWERS:
                self._lost(f"{self._late_answers} answers in a row came too late")
            return
        self._late_answers = 0
        self._found(answer, answered_at)
        for each, lease in zip(limits, answer.leases, strict=True):
            wait_s = lease.wait_ms / 1000
            used, slot = float(lease.used), lease.slot
            each.granted(Grant(float(lease.granted), answered_at, wait_s, used, slot))
        if limits:
            self._on_grant()
        await self._restore()

    def _found(self, answer: Answer, now: float) -> None:
        """Update the state of the store and the number of workers from the answer."""
        workers = self._throttle.workers
        if self.fault:
            log.info("Redis grants limits again; %d workers share them", answer.workers)
        self.fault = ""
        self._was_away = False
        grace_s = answer.grace_ms / 1000
        # Some workers may not have called the store again yet. Until then, the higher number is
        # safer.
        workers.count = max(workers.count, answer.workers) if grace_s else answer.workers
        workers.local_until = now + grace_s if grace_s else 0.0
        if answer.epoch != self._epoch and self._epoch:
            log.warning("Redis has lost its data: restoring the used amounts of rolling windows")
            for each in self._throttle.allowances:
                each.emptied()
        self._epoch = answer.epoch

    async def _restore(self) -> None:
        """Report the used amounts of the windows that the store has lost."""
        for each in self._throttle.allowances:
            if each.record.has_unreported:
                period_ms = each.limit.period_s * 1000
                used = each.record.unreported(self._clock.now_ms() * SLOTS // period_ms)
                await self._stores.leases.restore(each.name, period_ms, used)
                each.record.reported()

    def _lost(self, reason: str) -> None:
        if not self.fault:
            log.warning("Redis grants no limits, so each worker keeps to its share: %s", reason)
        self.fault = reason
        self._was_away = True
        self._throttle.workers.local_until = NEVER
        # Waiting messages continue with this worker's share.
        self._on_grant()


def _read_state(text: str) -> Suspension | None:
    """Return the state that another worker wrote.

    The result is None if the state cannot be read. No exception is raised, so the calls continue.
    """
    try:
        return msgspec.json.decode(text, type=Suspension).within_bounds()
    except (ValueError, RecursionError) as error:  # raised by msgspec
        log.warning("a suspension in Redis cannot be read; skipped: %s", error)
        return None


def _request(of: Allowance, now: float) -> Request:
    ask, limit = of.ask(now), of.limit
    amount = limit.amount if limit.is_window else limit.amount * of.factor
    return Request(
        of.name,
        limit.is_window,
        amount,
        limit.period_s * 1000,
        ask.burst,
        ask.wanted,
        ask.needed,
        ask.returned,
        ask.slot,
    )


class _InFull(Struct):
    key: str
    changed_at: float
    until: float
    lasted_s: float
    strikes: int
    factor: float
    slowed_at: float
    slow_for_s: float
    reason: str


def _in_full(state: Suspension) -> _InFull:
    """Return all fields, because the script reads `until` even if it has its default value."""
    return _InFull(*(getattr(state, name) for name in _InFull.__struct_fields__))


assert ALIVE_MS > 2 * HEARTBEAT_S * 1000
