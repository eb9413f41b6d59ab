"""Defines the stored form of passwords: SCRAM-SHA-256 keys (RFC 5802, 3; RFC 7677), never text.

This module derives keys from a password, verifies passwords, and rotates credentials. It does not
own the storage of credentials (client.py, publish.py) and the login exchange with a peer
(shared/smtp/server/sasl.py).

A client has at most MAX_CREDENTIALS credentials, and the newest is the first. All credentials of a
client have the same salt and the same number of iterations, because in SCRAM the server sends the
salt before it knows which password the peer has.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

# RFC 7677 requires at least 4,096 iterations. OWASP recommends 600,000 to protect against lists of
# likely passwords. Passwords of clients are 24 random bytes, unless an operator chooses a password
# of at least MIN_PASSWORD_CHARS. So the length protects the passwords even if the registry is
# stolen. Each PLAIN login that is not cached, and each wrong guess, takes a worker thread about 20
# ms. Postfix logs in with Cyrus SASL, which prefers SCRAM to PLAIN and accepts at most this number
# of iterations.
DEFAULT_ITERATIONS: Final = 65_536
MIN_PASSWORD_CHARS: Final = 12
# The highest number of credentials: one for the password in use and, during a rotation, one for the
# next password.
MAX_CREDENTIALS: Final = 2
_SALT_BYTES: Final = 16
_PASSWORD_BYTES: Final = 24  # these are 32 characters of base64url


class Credential(Struct, frozen=True):
    """The keys of one password."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    created_at_ms: int

    def __repr__(self) -> str:
        return f"Credential(created_at_ms={self.created_at_ms})"  # keys must not appear in logs


class Keys(Struct, frozen=True):
    """The two keys that a server needs to check a login."""

    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "Keys(...)"


def derive(password: str, salt: bytes, iterations: int) -> Keys:
    """Derive the keys from a password, with this number of iterations of SHA-256.

    This function is slow, so it must not run in the event loop.
    """
    # NFKC is also used by shared/smtp/server/sasl.py and by SCRAM clients.
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    salted = hashlib.pbkdf2_hmac("sha256", text, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hashlib.sha256)
    server_key = hmac.digest(salted, b"Server Key", hashlib.sha256)
    return Keys(hashlib.sha256(client_key).digest(), server_key)


def verify(password: str, credentials: Sequence[Credential]) -> int | None:
    """Return the index of the credential that matches the password, or None.

    The check takes the same time for right and wrong passwords. derive() is called only once for
    all credentials with the same salt and iterations, which means once per client.
    """
    right: int | None = None
    known: dict[tuple[bytes, int], Keys] = {}
    for index, credential in enumerate(credentials):
        under = (credential.salt, credential.iterations)
        if under not in known:
            known[under] = derive(password, *under)
        is_right = hmac.compare_digest(known[under].stored_key, credential.stored_key)
        if is_right and right is None:
            right = index
    return right


def new_password() -> str:
    """Return a password of 32 random characters."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def make_credential(
    password: str, created_at_ms: int, iterations: int = DEFAULT_ITERATIONS
) -> Credential:
    """Create a credential with a new salt, to replace all other credentials of the client."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return _credential(password, salt, iterations, created_at_ms)


def rotated(
    credentials: Sequence[Credential], password: str, created_at_ms: int
) -> tuple[Credential, ...]:
    """Return a new credential, followed by the newest credential in `credentials`."""
    if not credentials:
        return (make_credential(password, created_at_ms),)
    newest = credentials[0]
    added = _credential(password, newest.salt, newest.iterations, created_at_ms)
    return (added, *credentials[: MAX_CREDENTIALS - 1])


def _credential(password: str, salt: bytes, iterations: int, created_at_ms: int) -> Credential:
    keys = derive(password, salt, iterations)
    return Credential(salt, iterations, keys.stored_key, keys.server_key, created_at_ms)
