"""What a rotation adds: times, selectors, key files. Pure but for making keys.

Owns: the names of new keys and their times. Does not own: writing them (shared/mailauth/dkim_keys).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from cli.control.planning import delay_s
from shared.mailauth.dkim_keys.folder import NewKey, make_key
from shared.mailauth.dkim_keys.table import ED25519, RSA, KeyEntry

ALGORITHMS: Final = {"both": (RSA, ED25519), "rsa": (RSA,), "ed25519": (ED25519,)}
_SHORT: Final = {RSA: "rsa", ED25519: "ed25519"}
DEFAULT_AFTER: Final = "24h"
# A rotation that is planned further ahead is a slip of the finger.
MOST_AHEAD: Final = timedelta(days=366)


class RotationError(ValueError):
    """An option of the rotation cannot be used; the text says why."""


class Wanted(Struct, frozen=True):
    """Whose keys are made, of which kinds, and from when they sign."""

    client: str
    domain: str
    algorithms: Sequence[str]
    rsa_bits: int
    active_from: datetime


def start_time(after: str, at: str, now: datetime) -> datetime:
    """When new keys become active: `after` a time such as 24h, or `at` a time of ISO 8601.

    Never before now: the newest key signs, so one that became active earlier might never sign.
    """
    if after and at:
        raise RotationError("--after and --at exclude each other")
    start = _at(at) if at else now + _delay(after or DEFAULT_AFTER)
    if start < now.replace(microsecond=0):
        raise RotationError(f"--at: {at!r} is past; --after 0s signs from now on")
    if start > now + MOST_AHEAD:
        option, given = ("--at", at) if at else ("--after", after)
        raise RotationError(f"{option}: {given!r} is more than {MOST_AHEAD.days}d from now")
    return start.replace(microsecond=0)


def _delay(after: str) -> timedelta:
    seconds = delay_s(after)
    if seconds is None:
        raise RotationError(f"--after: {after!r} is not a time such as 0s, 30m, 24h or 2d")
    return timedelta(seconds=seconds)


def _at(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RotationError(f"--at: {text!r} is not a time such as 2026-12-01T00:00:00Z") from None
    if time.tzinfo is None:
        raise RotationError(f"--at: {text!r} has no zone; append Z for UTC")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise RotationError(f"--at: {text!r} is no time in UTC") from None


def new_keys(wanted: Wanted, taken: Collection[KeyEntry], now: datetime) -> list[NewKey]:
    """Make the keys, under selectors and in files whose names nothing else has."""
    selectors = {entry.selector.lower() for entry in taken}
    files = {entry.file for entry in taken}
    owner = "-".join(filter(None, (wanted.client, wanted.domain))) or "common"
    owner = re.sub(r"[^A-Za-z0-9.-]", "_", owner)[:100].lstrip(".-") or "key"
    keys: list[NewKey] = []
    for algorithm in wanted.algorithms:
        base = f"s{now:%Y%m%d}-{_SHORT[algorithm]}"
        selector = next(name for name in _numbered(base) if name not in selectors)
        file = next(name for name in _numbered(f"{owner}.{selector}") if f"{name}.pem" not in files)
        entry = KeyEntry(selector, f"{file}.pem", wanted.client, wanted.domain, wanted.active_from)
        keys.append((entry, make_key(algorithm, wanted.rsa_bits)))
    return keys


def _numbered(base: str) -> Iterator[str]:
    """The name, and then with a number behind it."""
    yield base
    for number in range(2, 10**6):
        yield f"{base}-{number}"
