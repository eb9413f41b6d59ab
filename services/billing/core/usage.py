"""Counts the events in a run of records of mail.events, by day and mailing.

An event with `first_dispatch` adds one to `billed`, on the day of `first_dispatched_at_ms`. The
other counters use the day of the event. `received` is counted from the tallies. Records of unknown
types change no cell. Only their number is returned.

This code must be fast, because it reads every event of every message. So only the needed fields are
decoded, and the counts of a whole run are summed before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta, Struct

from services.billing.core.cells import BILLED, BYTES, COUNTERS, RECEIVED, Cell, encode_cell
from services.billing.core.month import Months
from shared.topics.codec import TALLY_TYPE, TYPE_PREFIX
from shared.topics.quotas import USED_UP_TYPE, WARNING_TYPE
from shared.topics.records import EventType

_BILLED: Final = COUNTERS.index(BILLED)
_RECEIVED: Final = COUNTERS.index(RECEIVED)
_BYTES: Final = COUNTERS.index(BYTES)
_TYPE: Final = "ce_type"
_TALLY: Final = TALLY_TYPE.encode()
_UNCOUNTED: Final = -1
_UNKNOWN: Final = -2
_PREFIX: Final = TYPE_PREFIX.encode()
# Maps each CloudEvents type to the index of its counter in COUNTERS.
_PLACES: Final = {
    _PREFIX + kind.value.encode(): (
        COUNTERS.index(kind.value) if kind.value in COUNTERS else _UNCOUNTED
    )
    for kind in EventType
}
# Known types that are never counted or billed.
_IGNORED: Final = frozenset({WARNING_TYPE.encode(), USED_UP_TYPE.encode()})
_REFUSED: Final = COUNTERS.index(EventType.REFUSED.value)
_SUPPRESSED: Final = COUNTERS.index(EventType.SUPPRESSED.value)
_BOUNCED: Final = COUNTERS.index(EventType.BOUNCED.value)
_DETAILED: Final = frozenset({_REFUSED, _SUPPRESSED, _BOUNCED})

# A detail is one word: a rule, a reason or a bounce class. Any other text is counted as OTHER, so
# that free text cannot create an unlimited number of cells.
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
OTHER: Final = "other"
MAX_DETAILS: Final = 16  # one event has at most this many details

# Larger values are faults of the process that wrote the event. They must not be stored, because the
# counters in the store have 64 bits, and the keys in the store have a limited length.
MAX_NAME_CHARS: Final = 255
MAX_BYTES: Final = 1 << 32
MAX_RECEIVED: Final = 1 << 32

Key = tuple[str, str, str, str]  # day (YYYY-MM-DD), client, mailing ID, sub-client
Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]


class EventRecord(Protocol):
    """The fields of a Kafka record that the billing service reads. `timestamp` is in Unix
    milliseconds."""

    headers: Sequence[tuple[str, bytes]]
    value: bytes | None
    timestamp: int


class UsageViolation(Struct, frozen=True, gc=False):
    """A rule that a refused message breaks. `rule` is the id of a rule in the contract, or another
    word."""

    rule: str


class UsageEvent(Struct, frozen=True, gc=False):
    """The fields of a sluice.mail event that this service needs
    (shared.topics.records.MailEvent)."""

    client: Name
    mailing_id: Name = ""
    sub_client: Name = ""
    at_ms: int = 0
    first_dispatch: bool = False
    first_dispatched_at_ms: int = 0
    size_bytes: Annotated[int, Meta(ge=0, le=MAX_BYTES)] = 0
    bounce_class: str = ""
    reason: str = ""
    rules: tuple[UsageViolation, ...] = ()


class UsageTallyRow(Struct, frozen=True, array_like=True, gc=False):
    """The number of submissions of one mailing (shared.topics.records.TallyRow)."""

    client: Name
    mailing_id: Name
    sub_client: Name
    received: Annotated[int, Meta(ge=0, le=MAX_RECEIVED)]


class UsageTally(Struct, frozen=True):
    """The fields of a sluice.tally event that this service needs (shared.topics.records.Tally)."""

    service: str
    at_ms: int
    rows: tuple[UsageTallyRow, ...] = ()


class Counted(Struct, frozen=True):
    """The sums over a run of records.

    `sums` has the counts of each key, in the order of COUNTERS. `details` has the counts by key,
    index of the counter, and detail. `unreadable` is the number of records of a known type that
    could not be decoded. `unknown` is the number of records of unknown types.
    """

    sums: dict[Key, list[int]]
    details: dict[tuple[Key, int, str], int]
    unreadable: int = 0
    unknown: int = 0

    def increments(self) -> tuple[tuple[str, str, int], ...]:
        """Return every count that is not zero as (month, cell, count). The store expects this
        format."""
        totals = [
            (key, COUNTERS[place], "", number)
            for key, counts in self.sums.items()
            for place, number in enumerate(counts)
            if number
        ]
        parts = [
            (key, COUNTERS[place], detail, number)
            for (key, place, detail), number in self.details.items()
        ]
        return tuple(
            (day[:7], encode_cell(Cell(client, mailing, sub, counter, day[8:], detail)), number)
            for (day, client, mailing, sub), counter, detail, number in (*totals, *parts)
        )


_decoder: Final = msgspec.json.Decoder(UsageEvent)
_tally: Final = msgspec.json.Decoder(UsageTally)


def count(records: Iterable[EventRecord], months: Months) -> Counted:
    """Sum up a run of records. A record with invalid content is counted as unreadable."""
    sums: dict[Key, list[int]] = {}
    details: dict[tuple[Key, int, str], int] = {}
    unreadable = unknown = 0
    places, decode, day_of = _PLACES, _decoder.decode, months.day
    width = len(COUNTERS)
    for record in records:
        kind = _kind(record.headers)
        place = places.get(kind, _UNKNOWN)
        if place == _UNKNOWN:
            if kind == _TALLY:
                unreadable += not _add_tally(record, months, sums)
            else:
                unknown += kind not in _IGNORED
            continue
        try:
            event = decode(record.value or b"")
            at_ms = event.at_ms or record.timestamp
            day = day_of(at_ms)
            billed_day = (
                day_of(event.first_dispatched_at_ms or at_ms) if event.first_dispatch else ""
            )
        # msgspec raises subclasses of ValueError, and a time out of range raises ValueError.
        except (ValueError, RecursionError):
            unreadable += 1
            continue
        if place != _UNCOUNTED:
            key = (day, event.client, event.mailing_id, event.sub_client)
            row = sums.get(key)
            if row is None:
                row = sums[key] = [0] * width
            row[place] += 1
            if place in _DETAILED:
                for detail in details_of(event):
                    part = (key, place, detail)
                    details[part] = details.get(part, 0) + 1
        if billed_day:
            key = (billed_day, event.client, event.mailing_id, event.sub_client)
            row = sums.get(key)
            if row is None:
                row = sums[key] = [0] * width
            row[_BILLED] += 1
            row[_BYTES] += event.size_bytes
    return Counted(sums, details, unreadable, unknown)


def details_of(event: UsageEvent) -> Iterable[str]:
    """Return the set of details under which a refused, suppressed or bounced event is counted."""
    words = (
        [event.bounce_class]
        if event.bounce_class
        else [broken.rule for broken in event.rules[:MAX_DETAILS]] or [event.reason]
    )
    return {word if _WORD.fullmatch(word) else OTHER for word in words if word}


def _kind(headers: Sequence[tuple[str, bytes]]) -> bytes:
    # encode_event writes the type as the third header, but other producers may write the type at
    # any place. If a record has several type headers, the first header is used.
    for name, value in headers:
        if name == _TYPE:
            return value or b""
    return b""


def _add_tally(record: EventRecord, months: Months, sums: dict[Key, list[int]]) -> bool:
    try:
        tally = _tally.decode(record.value or b"")
        day = months.day(tally.at_ms or record.timestamp)
    except (ValueError, RecursionError):
        return False
    for row in tally.rows:
        key = (day, row.client, row.mailing_id, row.sub_client)
        sums.setdefault(key, [0] * len(COUNTERS))[_RECEIVED] += row.received
    return True
