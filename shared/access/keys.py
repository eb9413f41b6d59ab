"""Defines the access keys of the HTTP APIs: their texts, their records and their rights.

A key has the form `sluice_<id>_<secret>`. The id has 12 characters and identifies the record of the
key; the secret is 32 random bytes. The record has a SHA-256 of the secret, never the secret itself.
A fast hash is enough, because nobody can guess so many random bytes. The topic mail.access stores
the records, keyed by the id of the key. New fields may be added, with a default; no field is
removed. Does not own: the topic (topic.py), the check of a request (checking.py).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

ID_CHARS: Final = 12
SECRET_BYTES: Final = 32
# base64url of 32 bytes has 43 characters. The alphabet of ids has no underscore.
_KEY: Final = re.compile(r"sluice_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")
_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


class Right(StrEnum):
    """A right that a key may have. New values may be added; no value is removed."""

    BILLING_READ = "billing:read"
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    RESPONSES_READ = "responses:read"
    RESPONSES_WRITE = "responses:write"
    MESSAGES_READ = "messages:read"


class Scope(Struct, frozen=True, omit_defaults=True):
    """The clients whose data a key may read.

    If `client` is "", the scope includes every client. If `sub_client` is None, the scope includes
    every sub-client of the client. If `sub_client` is "", the scope includes only the data of the
    client that belongs to no sub-client.
    """

    client: str = ""
    sub_client: str | None = None

    def __post_init__(self) -> None:
        if self.sub_client is not None and not self.client:
            raise ValueError("a sub-client needs a client")

    def covers(self, client: str, sub_client: str) -> bool:
        """Return whether the scope includes the data of this client and sub-client."""
        return self.client in ("", client) and self.sub_client in (None, sub_client)

    def described(self) -> str:
        """Return the scope as text for people."""
        if not self.client:
            return "everything"
        return self.client if self.sub_client is None else f"{self.client}/{self.sub_client}"


EVERYTHING: Final = Scope()


class AccessKey(Struct, frozen=True, omit_defaults=True):
    """The record of a key. `secret_hash` is empty if the key is revoked."""

    id: str
    secret_hash: bytes
    rights: tuple[str, ...]  # rights that this version does not know have no effect
    scope: Scope = EVERYTHING
    name: str = ""  # the purpose of the key, for people
    created_at_ms: int = 0
    created_by: str = ""
    expires_at_ms: int = 0  # 0: never
    revoked_at_ms: int = 0
    revoked_by: str = ""

    def __repr__(self) -> str:
        return f"AccessKey(id={self.id!r})"  # hashes must not appear in logs

    def state(self, now_ms: int) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at_ms:
            return "revoked"
        return "expired" if self.has_expired(now_ms) else "active"

    def has_expired(self, now_ms: int) -> bool:
        return 0 < self.expires_at_ms <= now_ms


class KeyText(Struct, frozen=True):
    """The two parts of a key's text."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"sluice_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        return f"KeyText(id={self.id!r})"  # the secret must not appear in logs


_decoder: Final = msgspec.json.Decoder(AccessKey)


def new_key() -> KeyText:
    """Return a new random key."""
    chosen = "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_CHARS))
    return KeyText(chosen, secrets.token_urlsafe(SECRET_BYTES))


def parse_key(text: str) -> KeyText | None:
    """Return the parts of a key's text, or None if the text is not a key."""
    found = _KEY.fullmatch(text)
    return KeyText(found[1], found[2]) if found else None


def hash_of(key: KeyText) -> bytes:
    """Return the hash to store.

    The hash covers the id, so a hash that is copied to another record is useless.
    """
    return hashlib.sha256(f"{key.id}_{key.secret}".encode()).digest()


def is_right(key: KeyText, stored: bytes) -> bool:
    """Compare the hashes in constant time. The empty hash of a revoked key matches no secret."""
    return hmac.compare_digest(hash_of(key), stored)


def encode_record(key: AccessKey) -> bytes:
    """Return the value of the key's record on mail.access."""
    return msgspec.json.encode(key)


def decode_record(name: str, value: bytes) -> AccessKey:
    """Decode a record of mail.access; raises ValueError if it is not the record of key `name`."""
    found = _decoder.decode(value)
    if found.id != name:
        raise ValueError(f"the record is of the key {found.id!r}")
    return found
