"""Runs the Lua script of a module: name.lua lies beside name.py.

It calls EVALSHA, and EVAL if the server does not know the script (restarted, SCRIPT FLUSH, a
replica promoted), so no script has to be loaded beforehand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from shared.store.client import store_errors

_PACKAGE: Final = "shared.store"


def _load(name: str) -> tuple[str, str]:
    source = resources.files(_PACKAGE).joinpath(f"{name}.lua").read_text("utf-8")
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Script:
    """One script on one client. Its Lua header describes its keys, arguments and result."""

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
    """The same on a client of one asyncio loop."""

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
