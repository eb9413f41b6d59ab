"""Makes and verifies the return path of a message, which has a signed local part (VERP). This
module does no I/O.

rp=<61 characters of 0-9 a-v>@<the client's sending domain>

The 61 characters encode 38 octets in base 32: the key id (1), the day (2), a hash of the mailing ID
and the sub-client (5), a hash of the recipient (6), the mail id (16), and the first 8 octets of an
HMAC-SHA-256 over the client's name and the other 30 octets. The client is the owner of the sending
domain.

This module owns the form of the return path, the text form of the keys, signing and verifying. The
file of the keys is read by shared/settings/secret_files.py, and the client of a domain is found by
shared/registry. The local part has 64 octets, which is the limit of RFC 5321, 4.5.3.1.1. Upper and
lower case have the same meaning. Apart from upper and lower case, there is exactly one text for
each meaning. verify() never raises an exception. The reasons for the lengths are in
docs/decisions/0073-return-path.md.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from shared.mail.address import ParsedAddress, parse_path
from shared.topics import ids
from shared.topics.ids import Base32

PREFIX: Final = "rp="
DAY_MS: Final = 86_400_000
MIN_SECRET_OCTETS: Final = 16
MAX_KEYS: Final = 32
MAILING_OCTETS: Final = 5
RECIPIENT_OCTETS: Final = 6
_MAC_OCTETS: Final = 8
_CHARS: Final = 61  # 61 characters have 305 bits: 304 bits of data, and a last bit that is 0.
_OCTETS: Final = 38
_SIGNED: Final = slice(0, _OCTETS - _MAC_OCTETS)
_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_TEXT: Final = re.compile(rf"[0-9a-v]{{{_CHARS}}}", re.ASCII)
_BASE_32: Final = Base32(_ALPHABET, _CHARS)
_SECRET: Final = re.compile(rf"(?:[0-9a-f]{{2}}){{{MIN_SECRET_OCTETS},}}", re.ASCII | re.IGNORECASE)
# Nearly all addresses match this pattern. If a matching address is valid, parsing would only
# convert its domain to lower case.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._+-]++@(?:[A-Za-z0-9-]++\.)++[A-Za-z0-9-]++", re.ASCII)
_EPOCH: Final = date(1970, 1, 1)
_LAST_DAY: Final = 0xFFFF
_CACHED_MAILINGS: Final = 4_096
_CACHED_KEYS: Final = 64

KEYS_EXPECTED: Final = (
    "lines of a number from 0 to 255, the day from which the key signs (2026-12-01) and the secret"
    f" as at least {2 * MIN_SECRET_OCTETS} hexadecimal digits, separated by spaces"
)


class Key(Struct, frozen=True):
    """One key. Each return path contains the id of the key that signed it.

    `first_day` is the first day on which the key signs, counted from 1970-01-01.
    """

    id: int
    first_day: int
    secret: bytes

    def __repr__(self) -> str:
        return f"Key(id={self.id}, first_day={self.first_day})"  # Secrets must not appear in logs.


class KeysFault(ValueError):
    """The text contains no valid keys. The error contains the line number and the expected form."""


class ReturnPath(Struct, frozen=True):
    """The content of a return path. Its hashes are computed by mailing_hash() and
    recipient_hash()."""

    day: int  # since 1970-01-01
    mailing: bytes
    recipient: bytes
    mail_id: str


class Refused(StrEnum):
    """The reason why a return path is not accepted."""

    FORGED = "forged"
    EXPIRED = "expired"


class Keys:
    """The keys of an installation. The newest active key is used to sign, and all keys are used to
    verify."""

    def __init__(self, keys: Sequence[Key]) -> None:
        """`keys` must not be empty, and its ids must be different."""
        self._newest_first = sorted(keys, key=lambda key: key.first_day, reverse=True)
        self._by_id = {key.id: key for key in keys}

    def signing(self, day: int) -> Key:
        """Return the newest key that is active on this day, or else the oldest key."""
        for key in self._newest_first:
            if key.first_day <= day:
                return key
        return self._newest_first[-1]

    def get(self, key_id: int) -> Key | None:
        """Return the key with this id."""
        return self._by_id.get(key_id)

    @property
    def ids(self) -> tuple[int, ...]:
        """Return the ids of the keys. The newest key is first."""
        return tuple(key.id for key in self._newest_first)


def parse_keys(text: str) -> Keys:
    """Parse a keys file. Raises KeysFault.

    The file contains lines as described in KEYS_EXPECTED, empty lines, and comments with #. The
    text of a fault never quotes the file, because the file contains secrets.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _parse_key(words)
        if isinstance(key, str):
            raise KeysFault(f"line {number}: {key}; expected {KEYS_EXPECTED}")
        if any(key.id == other.id for other in keys):
            raise KeysFault(f"line {number}: another key has the number {key.id}")
        keys.append(key)
    if not keys:
        raise KeysFault(f"no key in it; expected {KEYS_EXPECTED}")
    if len(keys) > MAX_KEYS:
        raise KeysFault(f"{len(keys)} keys; expected at most {MAX_KEYS}")
    return Keys(keys)


def _parse_key(words: list[str]) -> Key | str:
    if len(words) != 3:
        return f"{len(words)} words"
    number, first, secret = words
    if not (number.isascii() and number.isdecimal() and len(number) <= 3 and int(number) <= 255):
        return "the first word is no number from 0 to 255"
    try:
        day = (date.fromisoformat(first) - _EPOCH).days
    except ValueError:
        return "the second word is no day"
    if not 0 <= day <= _LAST_DAY:
        return "the second word is no day of this century"
    if _SECRET.fullmatch(secret) is None:
        return "the third word is no secret of enough hexadecimal digits"
    return Key(int(number), day, bytes.fromhex(secret))


def day_of(at_ms: int) -> int:
    """Return the day, counted from 1970-01-01, of a time in Unix milliseconds."""
    return min(max(at_ms, 0) // DAY_MS, _LAST_DAY)


@lru_cache(_CACHED_MAILINGS)
def mailing_hash(mailing_id: str, sub_client: str) -> bytes:
    """Return the hash that represents a mailing and its sub-client in return paths."""
    named = f"{mailing_id}\0{sub_client}".encode()
    return blake2b(named, digest_size=MAILING_OCTETS, person=b"sluice mailing").digest()


def recipient_hash(mail_id: str, address: str) -> bytes:
    """Return the hash that represents a recipient in the return path of a message.

    The mail id is the salt, so nobody can choose an address that has the same hash as another
    recipient. Upper and lower case have the same hash, because a report may convert an address to
    lower case. Raises ValueError if the mail id is not valid.
    """
    text = _normal(address).lower().encode("utf-8", "surrogatepass")
    salt = ids.to_bytes(mail_id)
    return blake2b(text, digest_size=RECIPIENT_OCTETS, salt=salt, person=b"sluice rcpt").digest()


def _normal(address: str) -> str:
    if _PLAIN.fullmatch(address):
        return address  # Parsing would only convert the domain to lower case.
    parsed = parse_path(address)
    return parsed.address if isinstance(parsed, ParsedAddress) else address


def is_return_path(local: str) -> bool:
    """Return True if a local part looks like a return path. Only verify() proves that it is a
    return path."""
    return local[: len(PREFIX)].lower() == PREFIX


def encode(keys: Keys, client: str, path: ReturnPath) -> str:
    """Return the signed local part. Raises ValueError if the mail id is not valid."""
    key = keys.signing(path.day)
    named = path.mailing + path.recipient + ids.to_bytes(path.mail_id)
    signed = bytes((key.id,)) + path.day.to_bytes(2, "big") + named
    number = int.from_bytes(signed + _mac(key, client, signed), "big") << 1
    return PREFIX + _BASE_32.encode(number)


def verify(
    keys: Keys, client: str, local: str, *, today: int, days_valid: int
) -> ReturnPath | Refused:
    """Return the content of a return path of this client, or the reason why the return path is
    refused."""
    octets = _octets(local)
    key = keys.get(octets[0]) if octets else None
    if key is None:
        return Refused.FORGED
    signed = octets[_SIGNED]
    if not hmac.compare_digest(_mac(key, client, signed), octets[_SIGNED.stop :]):
        return Refused.FORGED
    day = int.from_bytes(signed[1:3], "big")
    if today - day > days_valid:
        return Refused.EXPIRED
    mailing_end = 3 + MAILING_OCTETS
    recipient_end = mailing_end + RECIPIENT_OCTETS
    return ReturnPath(
        day,
        signed[3:mailing_end],
        signed[mailing_end:recipient_end],
        ids.from_bytes(signed[recipient_end:]),
    )


def _octets(local: str) -> bytes:
    """Return the octets of a return path. Return b"" if the text does not have the form of a return
    path."""
    text = local.lower() if local.isascii() else ""
    if not text.startswith(PREFIX) or _TEXT.fullmatch(text, len(PREFIX)) is None:
        return b""
    number = int(text[len(PREFIX) :], 32)
    return b"" if number & 1 else (number >> 1).to_bytes(_OCTETS, "big")


def _mac(key: Key, client: str, signed: bytes) -> bytes:
    # hmac.digest() is not used, because it releases the interpreter lock. In a busy process, the
    # thread would then wait long for the lock.
    mac = _keyed(key.secret).copy()
    # No client's name contains a NUL, so the NUL marks the end of the name.
    mac.update(client.encode() + b"\0" + signed)
    return mac.digest()[:_MAC_OCTETS]


@lru_cache(_CACHED_KEYS)
def _keyed(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")
