"""Why a recipient gets mail from a client, or gets none. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct

from shared.registry.block_list import blocked_by
from shared.registry.client import Client, family_of
from shared.topics.suppressions import (
    BLOCKED,
    REASONS,
    RecipientForm,
    Suppression,
)


class Explanation(Struct, frozen=True):
    """A client's decision about a recipient: the reason word ("" : it gets mail), the pattern of
    the block list that matches, and all entries, removed ones and those of its parents too.

    `inherited_from`: the parent whose list gives the reason; "" if it is the client's own.
    """

    client: str
    reason: str
    pattern: str
    entries: list[Suppression]
    inherited_from: str = ""


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
    return [_explain(address, name, clients, found) for name in sorted(found)]


def _explain(
    address: str,
    name: str,
    clients: Mapping[str, Client],
    entries: Mapping[str, list[Suppression]],
) -> Explanation:
    """Judge as validate does: the block lists first, then the entries, each nearest first."""
    client = clients.get(name)
    names = family_of(client, clients.get).names if client is not None else (name,)
    shown = [entry for each in names for entry in entries.get(each, [])]
    for each in names:
        owner = clients.get(each)
        if owner is not None and (pattern := blocked_by(address, owner.block_list)):
            return Explanation(name, BLOCKED, pattern, shown, each if each != name else "")
    for each in names:
        active = {entry.reason for entry in entries.get(each, []) if entry.active}
        reason = next((str(one) for one in REASONS if one in active), "")
        if reason:
            return Explanation(name, reason, "", shown, each if each != name else "")
    return Explanation(name, "", "", shown)
