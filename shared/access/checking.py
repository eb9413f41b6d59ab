"""Decides whether a request may pass: a key becomes a grant, or a denial with its reason. Pure.

The peer gets the same answer for an unknown, a wrong and a revoked key, so that ids cannot be
tried; the audit log has the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.access.keys import EVERYTHING, AccessKey, KeyText, Right, Scope, is_right, parse_key

BEARER: Final = "bearer "
# Compared if the id is not known, so that the answer takes as long as for a wrong secret.
_NO_HASH: Final = bytes(32)


class Reason(StrEnum):
    """Why a request was denied."""

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
    """What the owner of a key may do. `key`: its id, "" for a request without a key."""

    key: str
    scope: Scope
    rights: tuple[str, ...]

    def may(self, right: Right) -> bool:
        """Whether the key has this right."""
        return right.value in self.rights


class Denial(Struct, frozen=True):
    """A request that does not pass. `key`: the id that it names, if it names one."""

    reason: Reason
    key: str = ""


# For installations that serve without keys.
ANONYMOUS: Final = Grant("", EVERYTHING, tuple(right.value for right in Right))


def check(header: str | None, keys: Mapping[str, AccessKey], now_ms: int) -> Grant | Denial:
    """Judge the header Authorization; None if the request has none."""
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
