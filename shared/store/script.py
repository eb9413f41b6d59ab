"""Runs the Lua script of a module: the script of name.py is name.lua in the same folder.

The script is called with EVALSHA. If the server does not know the script (after a restart, SCRIPT
FLUSH or a failover), it is called with EVAL. So no script has to be loaded in advance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import redis
import redis.asyncio
from hiredis import pack_command
from redis.exceptions import NoScriptError

from shared.store.client import store_errors

_PACKAGE: Final = "shared.store"


def _load(name: str) -> tuple[str, str]:
    source = resources.files(_PACKAGE).joinpath(f"{name}.lua").read_text("utf-8")
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Script:
    """One script on one client. The header of the Lua file describes keys, arguments and result."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client = client
        self._source, self._sha = _load(name)

    def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """Return the script's result. Raises StoreUnavailable; the script may then have run."""
        with store_errors():
            try:
                return self._client.evalsha(self._sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return self._client.eval(self._source, len(keys), *keys, *arguments)


class AsyncScript:
    """One script on a client of one asyncio loop."""

    def __init__(self, client: redis.asyncio.Redis, name: str) -> None:
        self._client = client
        self._source, self._sha = _load(name)

    async def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """Return the script's result. Raises StoreUnavailable; the script may then have run."""
        client: Any = self._client
        with store_errors():
            try:
                return await client.evalsha(self._sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.eval(self._source, len(keys), *keys, *arguments)


class KeptScript:
    """One script on a client of one asyncio loop, over a connection that stays open between calls.

    For each command, redis-py takes a connection from its pool, returns it, and records metrics of
    both steps. These steps take more work than the command itself. This class is for a caller that
    makes many calls per second, one after the other. A second call at the same time uses another
    connection.

    Guarantees: a command is sent only once. If a command was abandoned, redis-py closes its
    connection; the next command reopens the connection. The caller limits the time of a call.
    """

    def __init__(self, client: redis.asyncio.Redis, name: str) -> None:
        self._pool: Any = client.connection_pool
        self._source, self._sha = _load(name)
        self._kept: Any = None

    async def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """Return the script's result. Raises StoreUnavailable; the script may then have run."""
        with store_errors():
            connection, self._kept = self._kept, None
            if connection is None:
                connection = await self._pool.get_connection()
            try:
                await self._pool.ensure_connection(connection)
                rest = (len(keys), *keys, *arguments)
                try:
                    return await _call(connection, "EVALSHA", self._sha, *rest)
                except NoScriptError:
                    return await _call(connection, "EVAL", self._source, *rest)
            finally:
                if self._kept is None:
                    self._kept = connection
                else:
                    await self._pool.release(connection)


async def _call(connection: Any, *parts: Any) -> Any:
    # redis-py would encode each part in Python, which takes six times as long as this.
    await connection.send_packed_command(pack_command(parts))
    return await connection.read_response()
