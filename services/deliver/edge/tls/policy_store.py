"""MTA-STS policies in Redis, shared by all workers; derived state.

Owns: the key and the form of the value. Guarantees: raises nothing; a value that cannot be read is
as none. A policy disappears by itself when its max_age is over.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec
import redis.asyncio

from services.deliver.core.tls.sts import KnownPolicy
from shared.store.client import StoreUnavailable, store_errors

log = logging.getLogger(__name__)

# The policies that domains publish are the same for all installations.
PREFIX: Final = "{sluice:mta-sts}:"
_decoder: Final = msgspec.json.Decoder(KnownPolicy)


class RedisPolicies:
    """Policies under `{sluice:mta-sts}:<domain>`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def load(self, domain: str) -> KnownPolicy | None:
        """The policy that another process has fetched."""
        try:
            with store_errors():
                value = await self._client.get(PREFIX + domain)
            return _decoder.decode(value) if value is not None else None
        except (StoreUnavailable, msgspec.DecodeError) as error:
            log.info("an MTA-STS policy cannot be read", extra={"reason": str(error)})
            return None

    async def save(self, domain: str, known: KnownPolicy) -> None:
        """Let other processes have a policy."""
        value = msgspec.json.encode(known)
        try:
            with store_errors():
                await self._client.set(PREFIX + domain, value, ex=max(1, known.policy.max_age_s))
        except StoreUnavailable as error:
            log.info("an MTA-STS policy cannot be shared", extra={"reason": str(error)})
