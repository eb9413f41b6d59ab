"""Whether the server may evict keys: with any `maxmemory-policy` but noeviction it may.

An evicted submission key lets a repeated message go out twice, and nothing tells. So nobody
relies on keys while the policy is another one, and keys that may have been evicted meanwhile
are read back (services/validate/edge/key_restorer.py).

The policy is read by INFO, which managed servers allow where they forbid CONFIG; by CONFIG GET
where INFO does not have it.
"""

from __future__ import annotations

from typing import Any, Final

import redis
from msgspec import Struct
from redis.exceptions import NoPermissionError, ResponseError

from shared.store.client import StoreUnavailable, connect, store_errors

SAFE_POLICY: Final = "noeviction"
_TIMEOUT_S: Final = 1.0
UNKNOWN: Final = (
    "Redis does not tell its maxmemory-policy: allow this user INFO (or CONFIG GET), and set"
    f" maxmemory-policy {SAFE_POLICY}"
)


class Eviction(Struct, frozen=True):
    """The server's policy ("" where it does not tell), and how often it evicted since it runs.

    `run` names the run of the server that `evicted` was counted in.
    """

    policy: str
    run: str
    evicted: int

    @property
    def fault(self) -> str:
        """Why keys may vanish; "" when they may not."""
        if self.policy == SAFE_POLICY:
            return ""
        if not self.policy:
            return UNKNOWN
        return f"Redis may evict keys: maxmemory-policy is {self.policy}, it must be {SAFE_POLICY}"

    @property
    def mark(self) -> str:
        """The same as long as nothing more was evicted."""
        return f"{self.run}:{self.evicted}"


def read_eviction(client: redis.Redis) -> Eviction:
    """Ask the server. Raises StoreAwayError."""
    with store_errors():
        info = _info(client)
        policy = str(info.get("maxmemory_policy", "")) or _configured(client)
        return Eviction(policy, str(info.get("run_id", "")), int(info.get("evicted_keys", 0)))


def policy_client(url: str) -> redis.Redis:
    """A client for policy_fault(), which is to return within a probe's time."""
    return connect(url, retry=None, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)


def policy_fault(client: redis.Redis) -> str:
    """Why keys may vanish; "" also where Redis is unavailable, which others notice."""
    try:
        return read_eviction(client).fault
    except StoreUnavailable:
        return ""


def _info(client: redis.Redis) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.info()
    except (NoPermissionError, ResponseError):
        return {}
    return found


def _configured(client: redis.Redis) -> str:
    try:
        found: dict[Any, Any] = client.config_get("maxmemory-policy")
    except (NoPermissionError, ResponseError):
        return ""
    value = next(iter(found.values()), "")
    return value.decode() if isinstance(value, bytes) else str(value)
