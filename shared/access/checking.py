"""Decides whether a request may pass, and defines the audit log of access keys. Pure.

The check of a key returns a grant, or a denial with a reason. The peer gets the same answer for
unknown, wrong and revoked keys, so that nobody can guess ids. The audit log has the reason.

The audit log has an entry for each key that was created or revoked, and entries for denied uses.
The entries are written to mail.access-log, which keeps them for 400 days. Denied uses are summed up
before they are written. So the number of records stays bounded even if a peer never stops trying
keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from shared.access.keys import EVERYTHING, AccessKey, KeyText, Right, Scope, is_right, parse_key

BEARER: Final = "bearer "
# If the id is unknown, the secret is compared with this hash, so that the answer takes as long as
# for a wrong secret.
_NO_HASH: Final = bytes(32)
# The largest number of different combinations (reason, key, peer) that are counted in one interval.
# Further denied uses are summed up by reason only.
MAX_ENTRIES: Final = 100
MAX_PEER_CHARS: Final = 64


class Reason(StrEnum):
    """The reason why a request was denied."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG = "wrong_secret"
    REVOKED = "revoked"
    EXPIRED = "expired"
    RIGHT = "right"
    SCOPE = "scope"
    RATE = "rate"


SENTENCES: Final = {
    Reason.MISSING: "give an access key: Authorization: Bearer sluice_...",
    Reason.MALFORMED: "Authorization: a bearer key is expected: Bearer sluice_...",
    Reason.UNKNOWN: "the access key is not valid",
    Reason.WRONG: "the access key is not valid",
    Reason.REVOKED: "the access key is not valid",
    Reason.EXPIRED: "the access key has expired",
}


class Grant(Struct, frozen=True):
    """The scope and rights of a request. `key` is the id of the access key, or "" without a key."""

    key: str
    scope: Scope
    rights: tuple[str, ...]

    def may(self, right: Right) -> bool:
        """Return whether the key has this right."""
        return right.value in self.rights


class Denial(Struct, frozen=True):
    """A denied request. `key` is the id of the access key, or "" without a key."""

    reason: Reason
    key: str = ""


# The grant of every request if the installation requires no keys.
ANONYMOUS: Final = Grant("", EVERYTHING, tuple(right.value for right in Right))


def check(header: str | None, keys: Mapping[str, AccessKey], now_ms: int) -> Grant | Denial:
    """Check the Authorization header of a request. `header` is None if the header is missing."""
    if header is None:
        return Denial(Reason.MISSING)
    if header[: len(BEARER)].lower() != BEARER:
        return Denial(Reason.MALFORMED)
    given = parse_key(header[len(BEARER) :].strip())
    if given is None:
        return Denial(Reason.MALFORMED)
    return _check_key(given, keys.get(given.id), now_ms)


def _check_key(given: KeyText, stored: AccessKey | None, now_ms: int) -> Grant | Denial:
    matches = is_right(given, stored.secret_hash if stored else _NO_HASH)
    if stored is None:
        return Denial(Reason.UNKNOWN, given.id)
    if stored.revoked_at_ms:
        return Denial(Reason.REVOKED, given.id)
    if not matches:
        return Denial(Reason.WRONG, given.id)
    if stored.has_expired(now_ms):
        return Denial(Reason.EXPIRED, given.id)
    return Grant(stored.id, stored.scope, stored.rights)


class Action(StrEnum):
    """The event that an entry of the audit log records."""

    CREATED = "created"
    REVOKED = "revoked"
    DENIED = "denied"


class AuditEntry(Struct, frozen=True, omit_defaults=True):
    """One line of the audit log. New fields may be added, with a default; no field is removed."""

    action: Action
    at_ms: int
    key: str = ""
    by: str = ""  # who created or revoked the key, or the service that denied its use
    name: str = ""
    scope: str = ""
    rights: tuple[str, ...] = ()
    expires_at_ms: int = 0
    reason: str = ""  # set only for a denied use
    peer: str = ""
    count: int = 1  # the number of denied uses that this entry sums up


_decoder: Final = msgspec.json.Decoder(AuditEntry)


def encode_entry(entry: AuditEntry) -> bytes:
    """Return the value of the entry's record on mail.access-log."""
    return msgspec.json.encode(entry)


def decode_entry(value: bytes) -> AuditEntry:
    """Decode the value of a record of mail.access-log; raises msgspec.MsgspecError."""
    return _decoder.decode(value)


class DenialSums:
    """Sums up the denied uses of one interval. Not thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}

    def add(self, denial: Denial, peer: str) -> None:
        """Count one denied use."""
        entry = (denial.reason.value, denial.key, peer[:MAX_PEER_CHARS])
        if entry not in self._counts and len(self._counts) >= MAX_ENTRIES:
            entry = (denial.reason.value, "", "")
        self._counts[entry] = self._counts.get(entry, 0) + 1

    def take(self, at_ms: int, by: str) -> list[AuditEntry]:
        """Return an audit entry for each sum, and begin a new interval."""
        counts, self._counts = self._counts, {}
        return [
            AuditEntry(Action.DENIED, at_ms, key, by=by, reason=reason, peer=peer, count=number)
            for (reason, key, peer), number in counts.items()
        ]
