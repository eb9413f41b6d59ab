"""Makes clients of Redis or Valkey: time-outs, few retries, one error for "it cannot now".

Owns the connection settings. Does not own what is stored: each script stands in a module of
its own, with its keys.

Promises: no call waits longer than about WORST_CALL_S; a connection on which a command was
given up (time-out, cancelled task, Ctrl-C) is closed, never handed on, so that a late reply
cannot become the answer to somebody else's command. A command is sent again after a broken
connection, so only such writes belong here as may happen twice or that carry their source
offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.runtime.errors import Unavailable

CONNECT_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 2.0
# A connection idle for longer is asked with PING before it is used.
HEALTH_CHECK_S: Final = 15
RETRIES: Final = 2
BACKOFF_BASE_S: Final = 0.02
BACKOFF_CAP_S: Final = 0.2
MAX_CONNECTIONS: Final = 32
WORST_CALL_S: Final = (RETRIES + 1) * (CONNECT_TIMEOUT_S + COMMAND_TIMEOUT_S) + 1.0

_RETRIED: Final = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)


class StoreUnavailable(Unavailable):
    """The store is away, loading, full or read-only: nothing is known of the command's effect."""


def _options() -> dict[str, Any]:
    return {
        "decode_responses": True,
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": COMMAND_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_S,
        "max_connections": MAX_CONNECTIONS,
    }


def connect(url: str, **overrides: Any) -> redis.Redis:
    """A client for threads. Connects on first use; raises ValueError when `url` is none."""
    retry = Retry(ExponentialBackoff(BACKOFF_CAP_S, BACKOFF_BASE_S), RETRIES, _RETRIED)
    return redis.Redis.from_url(url, **{**_options(), "retry": retry, **overrides})


def connect_async(url: str, **overrides: Any) -> redis.asyncio.Redis:
    """A client for one asyncio loop. Connects on first use; raises ValueError as connect()."""
    retry = AsyncRetry(ExponentialBackoff(BACKOFF_CAP_S, BACKOFF_BASE_S), RETRIES, _RETRIED)
    return redis.asyncio.Redis.from_url(url, **{**_options(), "retry": retry, **overrides})


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn every redis-py error into StoreAwayError, its reason in one line."""
    try:
        yield
    except RedisError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreUnavailable(f"Redis: {reason}") from error
