"""Runs a Lua script that stands beside its module: name.py beside name.lua.

EVALSHA, and EVAL when the server does not know the script (restarted, SCRIPT FLUSH, a
replica promoted), so nothing has to be loaded beforehand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError

from shared.store.client import store_errors

_PACKAGE: Final = "shared.store"


class Script:
    """One script on one client. Its keys, arguments and result stand in its Lua header."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client = client
        self._source = resources.files(_PACKAGE).joinpath(f"{name}.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def run(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """The script's result. Raises StoreAwayError; whether the script ran is then unknown."""
        with store_errors():
            try:
                return self._client.evalsha(self._sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return self._client.eval(self._source, len(keys), *keys, *arguments)
