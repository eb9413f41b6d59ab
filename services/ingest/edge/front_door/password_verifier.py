"""Checks passwords of the front door's clients outside the event loop, and caches the right
passwords.

This module owns the cache of verified passwords. The cache is bounded. An entry is valid for
CACHE_S, or until the client's credentials change. This module does not own the delay after a
failure (login_policy.py), the derivation of keys (shared/registry/credentials.py) and the login
exchange (shared/smtp/server/sasl.py).

The cache does not contain the passwords. It contains HMACs of the passwords, and only this process
has the key of the HMACs. The check of an unknown name takes as much CPU time as the check of a
wrong password.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from shared.registry.client import Client
from shared.registry.credentials import DEFAULT_ITERATIONS, Credential, derive, verify
from shared.smtp.server.sasl import ScramKeys, ScramOffer

CACHE_S: Final = 300.0
MAX_CACHED: Final = 10_000
# Each verification takes about 100 ms of CPU time, so several verifications at the same time would
# delay the mail.
_THREADS: Final = 1
# If this many verifications wait, further logins are refused for now, so that the guesses of an
# attacker cannot pile up.
MAX_WAITING: Final = 64
_SALT_BYTES: Final = 16


class Busy(Exception):
    """Too many passwords are waiting to be checked."""


class PasswordVerifier:
    """Checks the passwords of the registered clients. Must be used in one event loop only."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="logins")
        self._cache: OrderedDict[bytes, tuple[float, tuple[Credential, ...]]] = OrderedDict()
        self._waiting = 0

    async def is_right(self, name: str, client: Client | None, password: str) -> bool:
        """Return True if this is a password of the client. Raises Busy."""
        if client is not None and self.is_known(client, password):
            return True
        credentials = client.credentials if client is not None else ()
        loop = asyncio.get_running_loop()
        if self._waiting >= MAX_WAITING:
            raise Busy
        self._waiting += 1
        try:
            is_right = await loop.run_in_executor(
                self._pool, _verify, password, credentials, self._fake_salt(name)
            )
        finally:
            self._waiting -= 1
        if is_right:
            self._cache[self._mark(name, password)] = (loop.time() + CACHE_S, credentials)
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return is_right

    def is_known(self, client: Client, password: str) -> bool:
        """Return True if the cache contains this password of the client."""
        found = self._cache.get(self._mark(client.name, password))
        now = asyncio.get_running_loop().time()
        return found is not None and found[0] > now and found[1] == client.credentials

    def offer(self, name: str, client: Client | None) -> ScramOffer:
        """Return the parameters of a SCRAM exchange. If the name is unknown, no proof can match the
        parameters."""
        credentials = client.credentials if client is not None else ()
        if not credentials:
            return ScramOffer(self._fake_salt(name), DEFAULT_ITERATIONS, ())
        keys = tuple(ScramKeys(one.stored_key, one.server_key) for one in credentials)
        return ScramOffer(credentials[0].salt, credentials[0].iterations, keys)

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _mark(self, name: str, password: str) -> bytes:
        text = f"{name}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256)

    def _fake_salt(self, name: str) -> bytes:
        # An unknown name must get the same salt each time, as a known name does.
        text = name.encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, b"salt\0" + text, hashlib.sha256)[:_SALT_BYTES]


def _verify(password: str, credentials: Sequence[Credential], fake_salt: bytes) -> bool:
    if not credentials:
        derive(password, fake_salt, DEFAULT_ITERATIONS)
        return False
    return verify(password, credentials) is not None
