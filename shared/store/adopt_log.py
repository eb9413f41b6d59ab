"""adopt_log.lua: makes the billing cells continue with another log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import redis

from shared.store.script import Script

NAME: Final = "adopt_log"


class AdoptLog:
    """The script on one client; `state` is its key, with a {hash tag}."""

    def __init__(self, client: redis.Redis, state: str) -> None:
        self._script = Script(client, NAME)
        self._state = state

    def run(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Adopt this log; return the previous id, "" without cells. Raises StoreUnavailable."""
        return str(self._script.run([self._state], [log, month, *partitions]))
