"""Maps a run of mail.events records to counts by month and mailing.

`billed` counts the event that carries `first_dispatch`, in the month of its
`first_dispatched_at_ms`; the other counters count in the month of their event; `received` comes
from the tallies. Records of other types are ignored.

This is the hot path (every event of every message): only the needed fields are decoded, and a
whole run is summed before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from services.billing.core.month import Months
from shared.topics.codec import TALLY_TYPE
from shared.topics.records import EventType, Tally

BILLED: Final = "billed"
RECEIVED: Final = "received"
# The counters of a row, in the order in which they are shown.
COUNTERS: Final = (
    BILLED,
    RECEIVED,
    EventType.REFUSED.value,
    EventType.SUPPRESSED.value,
    EventType.DELIVERED.value,
    EventType.BOUNCED.value,
    EventType.EXPIRED.value,
    EventType.CANCELLED.value,
    EventType.DEFERRED.value,
    EventType.IN_DOUBT.value,
)

_BILLED: Final = COUNTERS.index(BILLED)
_RECEIVED: Final = COUNTERS.index(RECEIVED)
_TYPE: Final = "ce_type"
_TALLY: Final = TALLY_TYPE.encode()
_MAIL: Final = b"sluice.mail."
_UNCOUNTED: Final = -1
# Index of the counter by CloudEvents type.
_PLACES: Final = {
    _MAIL + name.encode(): place
    for place, name in enumerate(COUNTERS)
    if name not in (BILLED, RECEIVED)
}

_KEYS: Final = ("client", "mailing_id", "sub_client")

Key = tuple[str, str, str, str]  # month, client, mailing ID, sub-client


class EventRecord(Protocol):
    """The parts of a Kafka record that are used; `timestamp` in Unix milliseconds."""

    headers: Sequence[tuple[str, bytes]]
    value: bytes | None
    timestamp: int


class UsageEvent(Struct, frozen=True, gc=False):
    """The fields of a sluice.mail event that billing needs (shared.topics.records.MailEvent)."""

    client: str
    mailing_id: str = ""
    sub_client: str = ""
    at_ms: int = 0
    first_dispatch: bool = False
    first_dispatched_at_ms: int = 0


class Cell(Struct, frozen=True, array_like=True, order=True):
    """One counter of one mailing; its JSON is the cell's name in the store."""

    client: str
    mailing_id: str
    sub_client: str
    counter: str


class Row(Struct, frozen=True):
    """The counts of one mailing in one month."""

    client: str
    mailing_id: str
    sub_client: str
    billed: int = 0
    received: int = 0
    refused: int = 0
    suppressed: int = 0
    delivered: int = 0
    bounced: int = 0
    expired: int = 0
    cancelled: int = 0
    deferred: int = 0
    in_doubt: int = 0


class Counted(Struct, frozen=True):
    """The sums of a run: the counts by key, in the order of COUNTERS, and the number of records
    of a known type that could not be decoded."""

    sums: dict[Key, list[int]]
    unreadable: int = 0

    def increments(self) -> tuple[tuple[str, str, int], ...]:
        """(month, cell, count) for every count that is not zero, in the format of the store."""
        return tuple(
            (month, encode_cell(Cell(client, mailing_id, sub_client, counter)), count)
            for (month, client, mailing_id, sub_client), counts in self.sums.items()
            for counter, count in zip(COUNTERS, counts, strict=True)
            if count
        )


_told: Final = msgspec.json.Decoder(UsageEvent)
_tally: Final = msgspec.json.Decoder(Tally)
_cell: Final = msgspec.json.Decoder(Cell)


def encode_cell(cell: Cell) -> str:
    """Encode a cell as its name in the store."""
    return msgspec.json.encode(cell).decode()


def decode_cell(name: str) -> Cell:
    """Decode a cell's name. Raises msgspec.DecodeError if it is not valid."""
    return _cell.decode(name)


def count(records: Iterable[EventRecord], months: Months) -> Counted:
    """Sum up a run of records. Never raises for the content of a record."""
    sums: dict[Key, list[int]] = {}
    unreadable = 0
    places, decode, month_of = _PLACES, _told.decode, months.of
    width = len(COUNTERS)
    for record in records:
        kind = _kind(record.headers)
        place = places.get(kind, _UNCOUNTED)
        if place == _UNCOUNTED and not kind.startswith(_MAIL):
            if kind == _TALLY:
                unreadable += not _add_tally(record, months, sums)
            continue
        try:
            told = decode(record.value or b"")
            at_ms = told.at_ms or record.timestamp
            additions = [] if place == _UNCOUNTED else [(place, month_of(at_ms))]
            if told.first_dispatch:
                additions.append((_BILLED, month_of(told.first_dispatched_at_ms or at_ms)))
        # The errors of msgspec and the error for a time out of range are ValueErrors.
        except (ValueError, RecursionError):
            unreadable += 1
            continue
        for place, month in additions:
            key = (month, told.client, told.mailing_id, told.sub_client)
            row = sums.get(key)
            if row is None:
                row = sums[key] = [0] * width
            row[place] += 1
    return Counted(sums, unreadable)


def rows(cells: dict[str, int], client: str = "") -> list[Row]:
    """The rows of a month from its cells, in order; only those of `client` if it is given.

    Cells with counters that this version does not know are ignored.
    """
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for name, number in cells.items():
        cell = decode_cell(name)
        if cell.counter in COUNTERS and client in ("", cell.client):
            key = (cell.client, cell.mailing_id, cell.sub_client)
            found.setdefault(key, {})[cell.counter] = number
    return [
        msgspec.convert(dict(zip(_KEYS, key, strict=True)) | found[key], Row)
        for key in sorted(found)
    ]


def _kind(headers: Sequence[tuple[str, bytes]]) -> bytes:
    # encode_event writes the type as the third header; other producers may write it anywhere.
    if len(headers) > 2 and headers[2][0] == _TYPE:
        return headers[2][1] or b""
    return next((value for name, value in headers if name == _TYPE), b"") or b""


def _add_tally(record: EventRecord, months: Months, sums: dict[Key, list[int]]) -> bool:
    try:
        tally = _tally.decode(record.value or b"")
        month = months.of(tally.at_ms or record.timestamp)
    except (ValueError, RecursionError):
        return False
    for row in tally.rows:
        key = (month, row.client, row.mailing_id, row.sub_client)
        sums.setdefault(key, [0] * len(COUNTERS))[_RECEIVED] += row.received
    return True
