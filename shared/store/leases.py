"""leases.lua: grants leases, which are parts of limits that all workers share.

Owns: the keys, and the bytes of calls and answers. Does not own: the decision when a worker asks
for a lease, and the limits that apply without the store (services/deliver/core/shaping/). One call
serves any number of limits.

The header of the script lists its guarantees. A call takes at most `timeout_s` and does not block
the loop. If a call is abandoned, nobody uses the leases that the script may have granted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import redis.asyncio
from msgspec import Struct

from shared.store.client import StoreUnavailable
from shared.store.script import KeptScript

NAME: Final = "leases"
# After the store was lost, nothing is granted for this time, so that every worker notices the loss.
GRACE_MS: Final = 3_000
# A worker calls at least once per second. A worker whose last call is older than this is not live.
ALIVE_MS: Final = 3_500
SLOTS: Final = 60


class Request(Struct, frozen=True):
    """The request of one worker for one limit.

    The worker wants the amount `wanted`, can use no less than `needed`, and returns the unused
    amount `returned`. `burst` is the largest lease of a rate. `slot` is the slot from which the
    returned amount was taken. All amounts are messages or bytes.
    """

    key: str
    is_window: bool
    amount: float
    period_ms: int
    burst: float
    wanted: float
    needed: float
    returned: float = 0
    slot: int = 0


class Lease(Struct, frozen=True):
    """The granted amount, and the time in milliseconds until a further lease is possible."""

    granted: int
    wait_ms: int
    used: int = 0
    slot: int = 0


class Answer(Struct, frozen=True):
    """The answer to one call: leases in the order of the requests.

    `epoch` changes when the store is emptied. `grace_ms` is the time for which each worker must use
    only its own share. `workers` is the number of live workers.
    """

    epoch: str
    grace_ms: int
    workers: int
    leases: tuple[Lease, ...]


class Caller(Struct, frozen=True):
    """The worker that asks for leases.

    `new_epoch` becomes the epoch if the store has no state. `was_away` is True if the worker had no
    connection to the store for some time.
    """

    worker: str
    new_epoch: str
    was_away: bool = False


class LeaseStore:
    """The script on one client of one loop. All keys begin with `tag`, which has a {hash tag}."""

    def __init__(
        self, client: redis.asyncio.Redis, tag: str, timeout_s: float = 0.5, now_ms: str = ""
    ) -> None:
        """In tests, `now_ms` replaces the server's time."""
        self._client = client
        self._script = KeptScript(client, NAME)
        self._tag = tag
        self._timeout_s = timeout_s
        self.now_ms = now_ms

    async def ask(self, caller: Caller, requests: Sequence[Request]) -> Answer:
        """Ask for leases. The call also marks the worker as live. Raises StoreUnavailable."""
        keys = [f"{self._tag}:state", f"{self._tag}:workers"]
        keys += [f"{self._tag}:{request.key}" for request in requests]
        arguments: list[str | int | bytes] = [
            caller.worker,
            caller.new_epoch,
            "1" if caller.was_away else "0",
            GRACE_MS,
            ALIVE_MS,
            self.now_ms,
            msgspec.json.encode([_argument(request) for request in requests]),
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._script.run(keys, arguments)
        except TimeoutError:
            raise StoreUnavailable(f"Redis: no answer within {self._timeout_s} s") from None
        return read_answer(found)

    async def restore(self, key: str, period_ms: int, used: Mapping[int, float]) -> None:
        """After the store was emptied, add the amounts that this worker used in each slot."""
        name = f"{self._tag}:{key}"
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._client.pipeline(transaction=True) as pipeline:
                    for slot, amount in used.items():
                        pipeline.hincrbyfloat(name, str(slot), amount)
                    pipeline.pexpire(name, period_ms + 2 * period_ms // SLOTS)
                    await pipeline.execute()
        except (TimeoutError, redis.RedisError) as error:
            raise StoreUnavailable(f"Redis: {error}") from None


def _argument(request: Request) -> list[str | float]:
    return [
        "window" if request.is_window else "rate",
        request.amount,
        request.period_ms,
        request.burst,
        request.wanted,
        request.needed,
        request.returned,
        request.slot,
    ]


def read_answer(found: str) -> Answer:
    """Decode the answer of the script."""
    epoch, grace_ms, workers, *leases = msgspec.json.decode(found)
    return Answer(
        str(epoch),
        int(grace_ms),
        int(workers),
        tuple(Lease(*map(int, values)) for values in leases),
    )
