"""Parses `keys.toml`. This table defines for which mail and at which times each DKIM key is used.
This module does no I/O.

[[key]]
    client = "shop"                        # or domain = "news.shop.example", or both, or neither
    selector = "s20261129r"
    file = "s20261129r.pem"                # in the same folder
    active_from = 2026-11-30T10:00:00Z     # default: at once
    active_until = 2027-12-01T00:00:00Z    # default: until a newer key of its kind is active

This module owns the form of the table, and chooses the keys for a message. Key files are read in
folder.py, and signatures are made in services/deliver. If one entry is not valid, the whole table
is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from shared.mail.domains import normalise

TABLE: Final = "keys.toml"
# This number is enough for 5,000 clients with two active and two future keys each.
MAX_KEYS: Final = 20_000
MAX_TABLE_BYTES: Final = 8 * 1024 * 1024

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
SELECTOR_PATTERN: Final = rf"^{_LABEL}(\.{_LABEL})*\Z"
MAX_SELECTOR_CHARS: Final = 63
RSA: Final = "rsa-sha256"
ED25519: Final = "ed25519-sha256"
# Signers should use at least 2048 bits, and verifiers need not accept more than 4096 (RFC 8301,
# 3.2).
RSA_BITS: Final = range(2048, 4097)
# The order of the signatures. RSA is the first, because all verifiers support RSA and some
# verifiers read only the first signature.
ALGORITHMS: Final = (RSA, ED25519)

_Time = Annotated[datetime, Meta(tz=True)]
T = TypeVar("T")


class KeyTableError(ValueError):
    """The table is not valid. The error contains the reason."""


class KeyEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A key in the table. If it has no client and no domain, it is used for mail for which there is
    no other key."""

    selector: Annotated[str, Meta(pattern=SELECTOR_PATTERN, max_length=MAX_SELECTOR_CHARS)]
    # The pattern allows no path, so no file outside the folder is read.
    file: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z", max_length=200)]
    client: Annotated[str, Meta(max_length=100)] = ""
    domain: Annotated[str, Meta(max_length=253)] = ""
    active_from: _Time | None = None
    active_until: _Time | None = None

    @property
    def scope(self) -> tuple[str, str]:
        """Return the client and the domain whose mail this key signs. "" means any client or
        domain."""
        return self.client, self.domain

    @property
    def starts_at_s(self) -> float:
        """Return the Unix time at which this key becomes active."""
        return self.active_from.timestamp() if self.active_from is not None else 0.0

    def is_active(self, now_s: float) -> bool:
        """Return True if this key may be used now."""
        until = self.active_until
        return self.starts_at_s <= now_s and (until is None or now_s < until.timestamp())


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[tuple[KeyEntry, ...], Meta(max_length=MAX_KEYS)] = ()


def parse_table(text: str) -> tuple[KeyEntry, ...]:
    """Parse a table. Domains are converted to lower-case A-labels. Raises KeyTableError."""
    try:
        table = msgspec.convert(tomllib.loads(text), _Table)
    except msgspec.ValidationError as error:
        raise KeyTableError(str(error)) from None
    # A number with 5,000 digits or deep nesting also causes one of these errors.
    except (ValueError, RecursionError) as error:
        raise KeyTableError(f"it is not TOML: {error}") from None
    entries = tuple(_checked(number, entry) for number, entry in enumerate(table.key, start=1))
    names = set()
    for number, entry in enumerate(entries, start=1):
        name = (*entry.scope, entry.selector.lower())
        if name in names:
            raise KeyTableError(f"key {number}: another one has the same selector {entry.selector}")
        names.add(name)
    return entries


def _checked(number: int, entry: KeyEntry) -> KeyEntry:
    domain = normalise(entry.domain) if entry.domain else ""
    if entry.domain and not domain:
        raise KeyTableError(f"key {number}: domain: {entry.domain!r} is not a mail domain")
    if entry.active_until is not None and entry.active_until.timestamp() <= entry.starts_at_s:
        raise KeyTableError(f"key {number}: active_until is not later than active_from")
    return msgspec.structs.replace(entry, domain=domain)


def encode_entry(entry: KeyEntry) -> str:
    """Return the lines for one key, to append to a table."""
    lines = ["[[key]]"]
    for name in ("client", "domain", "selector", "file"):
        if value := getattr(entry, name):
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    for name in ("active_from", "active_until"):
        if (time := getattr(entry, name)) is not None:
            lines.append(f"{name} = {time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return "\n".join([*lines, ""])


class Key(Struct, Generic[T], frozen=True):
    """An entry of the table, with the key from its file and the key's algorithm."""

    entry: KeyEntry
    algorithm: str
    key: T


class KeyIndex(Generic[T]):
    """Finds keys by the client and the domain for whose mail they are used."""

    def __init__(self, keys: Iterable[Key[T]]) -> None:
        self._by_scope: dict[tuple[str, str], list[Key[T]]] = {}
        for key in keys:
            self._by_scope.setdefault(key.entry.scope, []).append(key)
        for group in self._by_scope.values():
            # The newest key is first. If two keys have the same time, the key that is later in the
            # table is first.
            group.reverse()
            group.sort(key=lambda key: key.entry.starts_at_s, reverse=True)

    def choose(self, client: str, domain: str, now_s: float) -> list[Key[T]]:
        """Return the keys for this client's mail from this domain. There is at most one key per
        algorithm.

        All returned keys have the same scope. The scopes are tried in this order, and the first
        scope with an active key is used: client and domain, client, domain, any mail.
        """
        for scope in ((client, domain), (client, ""), ("", domain), ("", "")):
            if (group := self._by_scope.get(scope)) and (found := _newest(group, now_s)):
                return found
        return []


def _newest(group: list[Key[T]], now_s: float) -> list[Key[T]]:
    found: dict[str, Key[T]] = {}
    for key in group:
        if key.entry.is_active(now_s):
            found.setdefault(key.algorithm, key)
    return [found[algorithm] for algorithm in ALGORITHMS if algorithm in found]
