"""Why a recipient gets mail from a client, or gets none. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct

from shared.registry.block_list import blocked_by
from shared.registry.client import Client
from shared.topics.suppressions import (
    BLOCKED,
    REASONS,
    RecipientForm,
    Suppression,
)


class Explanation(Struct, frozen=True):
    """A client's decision about a recipient: the reason word ("" : it gets mail), the pattern of
    the block list that matches, and all entries, removed ones too."""

    client: str
    reason: str
    pattern: str
    entries: list[Suppression]


def names_of(address: str) -> dict[RecipientForm, str]:
    """Return how entries may name this address, which is in comparison form."""
    raw = address.encode()
    return {
        RecipientForm.ADDRESS: address,
        RecipientForm.SHA256: hashlib.sha256(raw).hexdigest(),
        RecipientForm.MD5: hashlib.md5(raw, usedforsecurity=False).hexdigest(),
    }


def explain(
    address: str, clients: Mapping[str, Client], entries: Iterable[Suppression]
) -> list[Explanation]:
    """Return the explanation of each client, by name; `entries` are those of this address."""
    found: dict[str, list[Suppression]] = {name: [] for name in clients}
    for entry in entries:
        found.setdefault(entry.client, []).append(entry)
    return [_explain(address, name, clients.get(name), found[name]) for name in sorted(found)]


def _explain(
    address: str, name: str, client: Client | None, entries: list[Suppression]
) -> Explanation:
    pattern = blocked_by(address, client.block_list) if client is not None else ""
    active = {entry.reason for entry in entries if entry.active}
    reason = BLOCKED if pattern else next((str(each) for each in REASONS if each in active), "")
    return Explanation(name, reason, pattern, entries)
