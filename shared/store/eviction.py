"""Checks whether the server may evict keys: `maxmemory-policy` must be noeviction.

If a submission key is evicted, a duplicate submission is sent without any error. So no service
relies on the keys while the server has another policy. Keys that may have been evicted during that
time are restored (services/validate/edge/key_restorer.py).

The policy is read with INFO, which managed servers allow even if they forbid CONFIG. If the answer
to INFO does not contain the policy, it is read with CONFIG GET.
"""

from __future__ import annotations

from typing import Any, Final

import redis
from msgspec import Struct
from redis.exceptions import NoPermissionError, ResponseError

from shared.settings.sections import RedisSettings
from shared.store.client import StoreUnavailable, connect, store_errors

SAFE_POLICY: Final = "noeviction"
_TIMEOUT_S: Final = 1.0
UNKNOWN: Final = (
    "Redis does not report its maxmemory-policy: allow this user INFO (or CONFIG GET), and set"
    f" maxmemory-policy {SAFE_POLICY}"
)


class Eviction(Struct, frozen=True):
    """The server's policy ("" if unknown), and the number of evictions since its start.

    `run` identifies the server process that counted `evicted`.
    """

    policy: str
    run: str
    evicted: int

    @property
    def fault(self) -> str:
        """Return the reason why keys may be evicted, or "" if the server never evicts keys."""
        if self.policy == SAFE_POLICY:
            return ""
        if not self.policy:
            return UNKNOWN
        return f"Redis may evict keys: maxmemory-policy is {self.policy}, it must be {SAFE_POLICY}"

    @property
    def mark(self) -> str:
        """Return a text that changes when further keys are evicted."""
        return f"{self.run}:{self.evicted}"


def read_eviction(client: redis.Redis) -> Eviction:
    """Query the server. Raises StoreUnavailable."""
    with store_errors():
        info = _info(client)
        policy = str(info.get("maxmemory_policy", "")) or _configured(client)
        return Eviction(policy, str(info.get("run_id", "")), int(info.get("evicted_keys", 0)))


def policy_client(settings: RedisSettings) -> redis.Redis:
    """Create a client for policy_fault(), with time-outs that are short enough for a probe."""
    timeouts = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    return connect(settings, retry=None, **timeouts)


def policy_fault(client: redis.Redis) -> str:
    """Return the reason why the server may evict keys, or "" if it never evicts keys.

    If Redis is unavailable, the result is "", because another check reports this fault.
    """
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
