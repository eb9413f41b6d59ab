"""Stores the counters for TLS reports, one hash per day; lost counters cannot be restored.

Owns: the keys and the form of fields. Does not own: counting (services/deliver). The counters of a
day are kept for KEPT_S, which is long enough to send the report of the day several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import redis
import redis.asyncio
from msgspec import Struct

from shared.store.client import store_errors

PREFIX: Final = "{sluice:tls-reports}:"
KEPT_S: Final = 35 * 86_400


class TlsCount(Struct, frozen=True):
    """A counter's key: the policy domain, the policy type and the result type of RFC 8460."""

    domain: str
    policy: str
    result: str


async def add_counts(client: redis.asyncio.Redis, day: str, counts: Mapping[TlsCount, int]) -> None:
    """Add to the counters of a day (2026-12-01). Raises StoreUnavailable."""
    with store_errors():
        pipeline = client.pipeline(transaction=True)
        for count, number in counts.items():
            field = f"{count.domain} {count.policy} {count.result}"
            pipeline.hincrby(PREFIX + day, field, number)
        pipeline.expire(PREFIX + day, KEPT_S)
        await pipeline.execute()


def read_counts(client: redis.Redis, day: str) -> dict[TlsCount, int]:
    """Return the counters of a day. Raises StoreUnavailable."""
    with store_errors():
        rows = client.hgetall(PREFIX + day)
    found: dict[TlsCount, int] = {}
    for field, number in dict(rows).items():
        parts = _text(field).split(" ")
        if len(parts) == 3:
            found[TlsCount(*parts)] = int(number)
    return found


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
