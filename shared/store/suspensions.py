"""suspensions.lua: shares suspensions and slow-downs (derived state) between all workers.

Owns: the key and the calls. Does not own: the meaning of a state and the check whether a state has
ended (services/deliver/core/shaping/); readers ignore ended states.
"""

from __future__ import annotations

import asyncio
from typing import Final

import redis.asyncio
from msgspec import Struct

from shared.store.client import StoreUnavailable
from shared.store.script import AsyncScript

NAME: Final = "suspensions"
KEPT_S: Final = 3 * 86_400
MAX_STATES: Final = 5_000


class SharedState(Struct, frozen=True):
    """One state to write: JSON with the field `until`.

    `is_forced` is True if the state also replaces a state that ends later.
    """

    key: str
    text: bytes
    until: float
    is_forced: bool = False


class SuspensionStore:
    """Runs the script through one Redis client, in one event loop.

    The key begins with `tag`, which has a {hash tag}.
    """

    def __init__(self, client: redis.asyncio.Redis, tag: str, timeout_s: float = 0.5) -> None:
        self._script = AsyncScript(client, NAME)
        self._keys = [f"{tag}:suspensions"]
        self._timeout_s = timeout_s

    async def exchange(self, state: SharedState | None = None) -> list[str]:
        """Write `state`, unless it is None; return the states of all workers.

        Raises StoreUnavailable.
        """
        written = state or SharedState("", b"", 0.0)
        arguments: list[str | int | bytes] = [
            written.key,
            written.text,
            repr(written.until),
            "1" if written.is_forced else "0",
            KEPT_S,
            MAX_STATES,
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._script.run(self._keys, arguments)
        except TimeoutError:
            raise StoreUnavailable(f"Redis: no answer within {self._timeout_s} s") from None
        return [str(each) for each in found]
