"""Stores the bounce counters in one Redis hash, so that either all counters or none are lost.

Owns: the key, and the guarantee that counters and place change together. Does not own: the meaning
and the bytes of a counter, the order of the records (shared/responses/counting).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from msgspec import Struct

from shared.store.client import store_errors
from shared.store.script import Script

# Two fields that are not counters (the fields of counters have names of 16 bytes): the known
# incidents, and the digest of the rules that were used for the counters
# (shared/responses/counting).
INCIDENTS_FIELD: Final = b"incidents"
RULES_FIELD: Final = b"rules"


class CounterPlace(Struct, frozen=True):
    """The ids of the counted topics, and the place up to which they are counted, or ""."""

    log: str
    place: str


class CounterStore:
    """The counters on one client, which must not decode responses. May raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, key: str) -> None:
        self._client = client
        self._key = key
        self._apply = Script(client, "apply_counters")

    def read(self, fields: Sequence[bytes]) -> tuple[CounterPlace, list[bytes | None]]:
        """Return the place and the counters of these fields, as they were at one moment."""
        names: list[Any] = ["log", "place", *fields]
        with store_errors():
            found: list[Any] = self._client.hmget(self._key, names)
        log, place, *counters = found
        return CounterPlace((log or b"").decode(), (place or b"").decode()), counters

    def apply(self, before: CounterPlace, place: str, changed: Mapping[bytes, bytes]) -> bool:
        """Store these counters and the place.

        If the stored place is not `before`, store nothing and return False. An empty counter is
        deleted.
        """
        arguments: list[str | bytes] = [before.log, before.place, place]
        for field, counter in changed.items():
            arguments += (field, counter)
        return bool(self._apply.run([self._key], arguments))

    def drop(self) -> None:
        """Delete all counters; counting then starts again at the beginning of the topics."""
        with store_errors():
            self._client.unlink(self._key)
