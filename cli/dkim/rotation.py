"""Makes the keys that a DKIM rotation adds, and warns if their client is not registered.

Owns: the names of new keys and their times. Does not own: writing the keys
(shared/mailauth/dkim_keys).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from cli.clients.faults import require_known
from cli.options import delay_s, find_kafka, require_domain
from shared.mailauth.dkim_keys.folder import NewKey, make_key
from shared.mailauth.dkim_keys.table import ED25519, RSA, KeyEntry
from shared.runtime.errors import Unavailable, UsageError
from shared.settings.loader import SettingsError
from shared.topics.names import is_client_name

ALGORITHMS: Final = {"both": (RSA, ED25519), "rsa": (RSA,), "ed25519": (ED25519,)}
_SHORT: Final = {RSA: "rsa", ED25519: "ed25519"}
DEFAULT_AFTER: Final = "24h"
# If new keys would sign only after this time, the rotation is refused as a typing error.
MOST_AHEAD: Final = timedelta(days=366)


class RotationError(ValueError):
    """An option of the rotation cannot be used; the text gives the reason."""


class Wanted(Struct, frozen=True):
    """The owner of the new keys, their kinds, and the time from which they sign."""

    client: str
    domain: str
    algorithms: Sequence[str]
    rsa_bits: int
    active_from: datetime


def wanted_of(  # noqa: PLR0913 - a command has many options
    now: datetime, *, client: str, domain: str, algorithm: str, bits: int, after: str, at: str
) -> Wanted:
    """Return the description of the keys to make. Raises RotationError, UsageError."""
    if client and not is_client_name(client):
        raise RotationError(f"--client: {client!r} is not the name of a client")
    normal = require_domain(domain) if domain else ""
    return Wanted(client, normal, ALGORITHMS[algorithm], bits, start_time(after, at, now))


def start_time(after: str, at: str, now: datetime) -> datetime:
    """Return the time from which new keys sign, after the delay `after` or at the time `at`.

    `after` is a text such as 24h, and `at` is an ISO 8601 time. Raises RotationError for a time in
    the past, because the key with the latest time signs, and a new key with an earlier time might
    never sign.
    """
    if after and at:
        raise RotationError("use either --after or --at, not both")
    start = _at(at) if at else now + _delay(after or DEFAULT_AFTER)
    if start < now.replace(microsecond=0):
        raise RotationError(f"--at: {at!r} is in the past; to sign from now on, use --after 0s")
    if start > now + MOST_AHEAD:
        option, given = ("--at", at) if at else ("--after", after)
        raise RotationError(f"{option}: {given!r} is more than {MOST_AHEAD.days}d from now")
    return start.replace(microsecond=0)


def _delay(after: str) -> timedelta:
    seconds = delay_s(after)
    if seconds is None:
        raise RotationError(f"--after: {after!r} is not a duration such as 0s, 30m, 24h or 2d")
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
        raise RotationError(f"--at: {text!r} cannot be converted to UTC") from None


def new_keys(wanted: Wanted, taken: Collection[KeyEntry], now: datetime) -> list[NewKey]:
    """Make the keys, with selectors and file names that no other key has."""
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
    """Yield the name, then the name with a number appended."""
    yield base
    for number in range(2, 10**6):
        yield f"{base}-{number}"


def warnings_of_client(name: str, bootstrap: str, line: str) -> list[str]:
    """Return a warning if the client of new keys is not registered or could not be checked."""
    if not name:
        return []
    try:
        require_known(find_kafka(bootstrap, line), name)
    except UsageError as error:
        return [f"{error}; the keys sign mail as soon as the client is registered"]
    except (Unavailable, SettingsError) as error:
        return [f"the client {name!r} was not checked: {error}"]
    return []
