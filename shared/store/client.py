"""Creates clients of Redis or Valkey with time-outs, few retries and one error for all failures.

Owns the connection settings. Does not own the stored data: each script has its own module,
with its keys.

Guarantees: no call waits longer than about WORST_CALL_S. A connection on which a command was
abandoned (time-out, cancelled task, Ctrl-C) is closed and never reused, so that a late reply
cannot be taken for the reply to another command. A command is sent again after a broken
connection, so every write must be idempotent or carry its source offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.runtime.connect_words import words_of
from shared.runtime.errors import Unavailable
from shared.settings.sections import RedisSettings
from shared.store.security import login_options

CONNECT_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 2.0
# A connection that was idle for longer is checked with PING before it is used.
HEALTH_CHECK_S: Final = 15
RETRIES: Final = 2
BACKOFF_BASE_S: Final = 0.02
BACKOFF_CAP_S: Final = 0.2
MAX_CONNECTIONS: Final = 32
WORST_CALL_S: Final = (RETRIES + 1) * (CONNECT_TIMEOUT_S + COMMAND_TIMEOUT_S) + 1.0

_RETRIED: Final = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)


class StoreUnavailable(Unavailable):
    """The store is unavailable, loading, full or read-only; the command may have taken effect."""


# For calls that must not be sent twice.
NO_RETRY: Final = AsyncRetry(NoBackoff(), 0)


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


def connect(settings: RedisSettings, **overrides: Any) -> redis.Redis:
    """Create a client for threads; it connects on first use.

    Raises SettingsError if a file that the settings name cannot be used.
    """
    retry = Retry(ExponentialBackoff(BACKOFF_CAP_S, BACKOFF_BASE_S), RETRIES, _RETRIED)
    options = {**_options(), **login_options(settings), "retry": retry, **overrides}
    return redis.Redis.from_url(settings.url, **options)


def connect_async(settings: RedisSettings, **overrides: Any) -> redis.asyncio.Redis:
    """Create a client for one asyncio loop. Otherwise like connect()."""
    retry = AsyncRetry(ExponentialBackoff(BACKOFF_CAP_S, BACKOFF_BASE_S), RETRIES, _RETRIED)
    options = {**_options(), **login_options(settings), "retry": retry, **overrides}
    return redis.asyncio.Redis.from_url(settings.url, **options)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn every redis-py error into StoreUnavailable, with its reason in one line."""
    try:
        yield
    except (RedisError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"Redis: {words_of(error)}") from error
