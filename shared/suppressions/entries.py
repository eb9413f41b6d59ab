"""Plans changes of suppression entries by people, and explains decisions about recipients. Pure.

Owns: the records that a change by a person writes to mail.suppressions, and the explanation why a
client's mail to a recipient is sent or suppressed. Does not own: the records
(shared/topics/suppressions.py), the judgement of a message (the validate service).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from shared.registry.block_list import blocked_by
from shared.registry.client import Client, family_of
from shared.suppressions.csv_file import Recipient
from shared.topics.suppressions import (
    BLOCKED,
    BY_COUNTER,
    REASONS,
    CounterReset,
    RecipientForm,
    Suppression,
    SuppressionReason,
    SuppressionRecord,
)


class Author(Struct, frozen=True):
    """The author, note and time of a change."""

    name: str
    note: str
    at_ms: int


class Removal(Struct, frozen=True):
    """The records that a removal writes, and the complaints that are removed only with --force."""

    records: list[SuppressionRecord]
    complaints: list[Suppression]


def addition(
    client: str, recipient: Recipient, reason: SuppressionReason, author: Author
) -> Suppression:
    """Return the entry to add for a recipient."""
    return Suppression(
        client,
        reason,
        recipient.text,
        recipient.form,
        at_ms=author.at_ms,
        author=author.name,
        note=author.note,
    )


def removal(entries: Iterable[Suppression], author: Author, *, is_forced: bool) -> Removal:
    """Plan the removal of the active entries.

    A complaint is not removed unless the removal is forced. If a counter added an entry, the
    counter is reset, because otherwise the next bounce would add the entry again.
    """
    records: list[SuppressionRecord] = []
    complaints = []
    for entry in entries:
        if not entry.active:
            continue
        if entry.reason is SuppressionReason.COMPLAINT and not is_forced:
            complaints.append(entry)
            continue
        records.append(
            replace(entry, active=False, author=author.name, note=author.note, at_ms=author.at_ms)
        )
        if entry.reason in BY_COUNTER and entry.form is RecipientForm.ADDRESS:
            records.append(reset(entry.client, entry.recipient, author))
    return Removal(list(dict.fromkeys(records)), complaints)


def reset(client: str, address: str, author: Author) -> CounterReset:
    """Return the record that resets a counter."""
    return CounterReset(client, address, author.at_ms, author.name, author.note)


class Explanation(Struct, frozen=True):
    """The decision whether a client's mail to a recipient is sent, and its reason.

    `reason` is the word for the reason, or "" if the recipient receives mail. `pattern` is the
    matching pattern of the block list. `entries` are all entries, including removed entries and the
    entries of parents. `inherited_from` is the parent whose list contains the reason, or "" if the
    client's own list contains it.
    """

    client: str
    reason: str
    pattern: str
    entries: list[Suppression]
    inherited_from: str = ""


def names_of(address: str) -> dict[RecipientForm, str]:
    """Return the address and its hashes. An entry may identify the recipient by any of these texts.

    The address must be in comparison form.
    """
    raw = address.encode()
    return {
        RecipientForm.ADDRESS: address,
        RecipientForm.SHA256: hashlib.sha256(raw).hexdigest(),
        RecipientForm.MD5: hashlib.md5(raw, usedforsecurity=False).hexdigest(),
    }


def explain(
    address: str, clients: Mapping[str, Client], entries: Iterable[Suppression]
) -> list[Explanation]:
    """Return an explanation per client, sorted by name. `entries` are entries for the address."""
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
    """Check block lists first and then entries, each for the client before its parents."""
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
