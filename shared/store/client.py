"""Creates clients of Redis or Valkey with time-outs, few retries and one error for all failures.

Owns: the connection settings, and the options of TLS and login. Does not own: the stored data and
its keys, which belong to the module of each script.

Guarantees: no call waits longer than about WORST_CALL_S. A connection on which a command was
abandoned (time-out, cancelled task, Ctrl-C) is closed and never reused, so that a late reply cannot
be taken for the reply to another command. If a connection breaks, the command is sent again. So
every write must be idempotent or include its source offset.

The files of TLS and login are read once when a client is created, so that an unusable file ends the
process with a one-line message. For each new connection, redis-py reads certificates and keys again
and gets the password from PasswordFromFile, so a rotation needs no restart. Open connections stay
open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.runtime.errors import Unavailable
from shared.runtime.tcp import words_of
from shared.settings.secret_files import (
    SecretFault,
    SecretFile,
    TlsFiles,
    require_secrets,
    require_tls,
)
from shared.settings.sections import RedisSettings

CONNECT_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 2.0
# A connection that was idle for longer than this is checked with PING before it is used.
HEALTH_CHECK_S: Final = 15
RETRIES: Final = 2
BACKOFF_BASE_S: Final = 0.02
BACKOFF_CAP_S: Final = 0.2
MAX_CONNECTIONS: Final = 32
WORST_CALL_S: Final = (RETRIES + 1) * (CONNECT_TIMEOUT_S + COMMAND_TIMEOUT_S) + 1.0

_RETRIED: Final = (RedisConnectionError, RedisTimeoutError, BusyLoadingError)


class PasswordFromFile(CredentialProvider):
    """Provides the user name, and the password that the file holds at the time of the call."""

    def __init__(self, user: str, file: SecretFile) -> None:
        self._user = user
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH. Raises AuthenticationError."""
        try:
            password = self._file.read()
        except SecretFault as error:
            raise AuthenticationError(f"redis.password_file: {error}") from None
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH. Reading the small file blocks the loop only briefly."""
        return self.get_credentials()


def login_options(redis: RedisSettings) -> dict[str, Any]:
    """Return redis-py's options of TLS and login. Raises SettingsError if a file is unusable."""
    files = TlsFiles(redis.tls_ca_file, redis.tls_certificate_file, redis.tls_key_file)
    require_tls("redis", files)
    require_secrets("redis", {"password_file": redis.password_file})
    named = {
        "ssl_ca_certs": files.ca,
        "ssl_certfile": files.certificate,
        "ssl_keyfile": files.key,
    }
    options: dict[str, Any] = {name: path for name, path in named.items() if path}
    if redis.password_file:
        provider = PasswordFromFile(redis.username, SecretFile(redis.password_file))
        options["credential_provider"] = provider
    return options


class StoreUnavailable(Unavailable):
    """The store is unavailable, loading, full or read-only; the command may have taken effect."""


# The retry policy of calls that must not be sent twice.
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

    Raises SettingsError if a file of TLS or login cannot be used.
    """
    retry = Retry(ExponentialBackoff(BACKOFF_CAP_S, BACKOFF_BASE_S), RETRIES, _RETRIED)
    options = {**_options(), **login_options(settings), "retry": retry, **overrides}
    return redis.Redis.from_url(settings.url, **options)


def connect_async(settings: RedisSettings, **overrides: Any) -> redis.asyncio.Redis:
    """Create a client for one asyncio loop; everything else is as in connect()."""
    retry = AsyncRetry(ExponentialBackoff(BACKOFF_CAP_S, BACKOFF_BASE_S), RETRIES, _RETRIED)
    options = {**_options(), **login_options(settings), "retry": retry, **overrides}
    return redis.asyncio.Redis.from_url(settings.url, **options)


@contextmanager
def store_errors() -> Iterator[None]:
    """Convert every redis-py error to StoreUnavailable, with the reason in one line."""
    try:
        yield
    except (RedisError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"Redis: {words_of(error)}") from error
