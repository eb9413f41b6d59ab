"""A client's passwords, kept as SCRAM-SHA-256 keys (RFC 5802, 3; RFC 7677). Passwords are not kept.

Owns: how a password becomes keys, how one is verified, the course of a rotation. Does not own:
where credentials are kept (client.py, publish.py), the exchange with a peer
(shared/smtp/server/sasl.py).

A client has MAX_CREDENTIALS at most, the newest first, all under one salt and number of
iterations: SCRAM tells the peer the salt before it is known which password it holds.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

# RFC 7677 asks for 4,096 at least, OWASP for 600,000 against lists of likely passwords. Ours are
# 24 random bytes unless an operator brings one of MIN_PASSWORD_LETTERS or more, so that a stolen
# registry is guarded by their length; while each PLAIN login that is not remembered, and each wrong
# guess, costs this much of a worker thread: some 20 ms. This is the most that Cyrus SASL,
# with which Postfix logs in, computes: it takes SCRAM before PLAIN, and no more rounds than these.
DEFAULT_ITERATIONS: Final = 65_536
MIN_PASSWORD_CHARS: Final = 12
# One in use and one being brought in.
MAX_CREDENTIALS: Final = 2
_SALT_BYTES: Final = 16
_PASSWORD_BYTES: Final = 24  # 32 letters of base64url


class Credential(Struct, frozen=True):
    """What one password has become."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    created_at_ms: int

    def __repr__(self) -> str:
        return f"Credential(created_at_ms={self.created_at_ms})"  # keys belong in no log


class Keys(Struct, frozen=True):
    """The two keys that a server needs."""

    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "Keys(...)"


def derive(password: str, salt: bytes, iterations: int) -> Keys:
    """The keys of a password, which costs `iterations` of SHA-256; call it off the loop."""
    # NFKC, as shared/smtp/server/sasl.py has it and SCRAM clients do.
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    salted = hashlib.pbkdf2_hmac("sha256", text, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hashlib.sha256)
    server_key = hmac.digest(salted, b"Server Key", hashlib.sha256)
    return Keys(hashlib.sha256(client_key).digest(), server_key)


def verify(password: str, credentials: Sequence[Credential]) -> int | None:
    """Which of the credentials the password is right for; None for none.

    Takes the same time for right and wrong ones. Costs one derive() for all credentials that
    share salt and iterations, as those of a client do.
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
    """A password of 32 random letters."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def make_credential(
    password: str, created_at_ms: int, iterations: int = DEFAULT_ITERATIONS
) -> Credential:
    """A credential under a salt of its own: it takes the place of all others."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return _credential(password, salt, iterations, created_at_ms)


def rotated(
    credentials: Sequence[Credential], password: str, created_at_ms: int
) -> tuple[Credential, ...]:
    """The newest valid credential with one more before it; older ones are pushed out."""
    if not credentials:
        return (make_credential(password, created_at_ms),)
    newest = credentials[0]
    added = _credential(password, newest.salt, newest.iterations, created_at_ms)
    return (added, *credentials[: MAX_CREDENTIALS - 1])


def _credential(password: str, salt: bytes, iterations: int, created_at_ms: int) -> Credential:
    keys = derive(password, salt, iterations)
    return Credential(salt, iterations, keys.stored_key, keys.server_key, created_at_ms)
