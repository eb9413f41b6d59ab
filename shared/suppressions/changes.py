"""Plans what a change by a person writes to mail.suppressions. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from shared.suppressions.csv_file import Recipient
from shared.topics.suppressions import (
    BY_COUNTER,
    CounterReset,
    RecipientForm,
    Suppression,
    SuppressionReason,
    SuppressionRecord,
)


class Author(Struct, frozen=True):
    """Who changes something, when and why."""

    name: str
    note: str
    at_ms: int


class Removal(Struct, frozen=True):
    """What a removal writes, and the complaints that it leaves because they need --force."""

    records: list[SuppressionRecord]
    complaints: list[Suppression]


def addition(
    client: str, recipient: Recipient, reason: SuppressionReason, author: Author
) -> Suppression:
    """Return the entry of a recipient."""
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
    """Plan the removal of the active ones among these entries.

    A complaint is left unless the removal is forced. With an entry that a counter made, the counter
    is reset: otherwise the next bounce would add the entry again.
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
    """Return the reset of a counter."""
    return CounterReset(client, address, author.at_ms, author.name, author.note)
