"""Counts events a second time, independently of the live count, so that both counts can be
compared.

This module reads events with its own code and uses no optimization of usage.py, so that a recount
detects mistakes in usage.py. An event is readable if the fields that billing needs are readable. An
invalid value in another field, such as `recipient`, must be ignored, because the live count does
not read that field. If it were not ignored, the recount would differ from the live count, and the
month could never be verified. If a record has two type headers, the first header is used, as in the
live count. Only events whose type is in EventType are counted.

The recount counts each mail once, whereas the live cells count each event. So a mail with two final
events or two first dispatches appears as a difference. Mails with such repeated events are known
only when all records were added (shared/audit/doubles.py). Therefore, in a second pass, discount()
subtracts the repeated events of these mails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from services.billing.core.cells import (
    BILLED,
    BYTES,
    COUNTERS,
    RECEIVED,
    Cell,
)
from services.billing.core.month import Months
from services.billing.core.usage import (
    MAX_BYTES,
    MAX_DETAILS,
    MAX_NAME_CHARS,
    MAX_RECEIVED,
    OTHER,
    EventRecord,
)
from shared.audit.conservation import Doubles, parse_mail_id
from shared.topics.codec import CodecError, EventDecoders, decode_event
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import FINAL, Event, EventType, MailEvent, Violation

MAX_UNREADABLE_SHOWN: Final = 20


class _Rule(Struct, frozen=True):
    rule: str


class _Data(Struct, frozen=True):
    client: str
    mailing_id: str = ""
    sub_client: str = ""
    at_ms: int = 0
    first_dispatch: bool = False
    first_dispatched_at_ms: int = 0
    size_bytes: int = 0
    bounce_class: str = ""
    reason: str = ""
    rules: tuple[_Rule, ...] = ()


class _Row(Struct, frozen=True, array_like=True):
    client: str
    mailing_id: str
    sub_client: str
    received: int


class _Tally(Struct, frozen=True):
    service: str
    at_ms: int
    rows: tuple[_Row, ...] = ()


class Difference(Struct, frozen=True):
    """A cell whose recounted number differs from the number in the store."""

    month: str
    client: str
    mailing_id: str
    sub_client: str
    counter: str
    recounted: int
    live: int
    day: str = ""
    detail: str = ""


_data: Final = msgspec.json.Decoder(_Data)
_tally: Final = msgspec.json.Decoder(_Tally)


def read_event(headers: Iterable[tuple[str, bytes]], value: bytes | None) -> Event | Tally | None:
    """Return the event, with only the fields that billing needs. Return None if this version does
    not know the type of the event.

    Raises CodecError if the type is known and a field that billing needs cannot be read.
    """
    return decode_event(headers, value, _COUNTED)


def _tally_of(value: bytes) -> Tally:
    found = _tally.decode(value)
    rows = [
        TallyRow(each.client, each.mailing_id, each.sub_client, each.received)
        for each in found.rows
    ]
    return Tally(found.service, found.at_ms, tuple(rows))


def _mail_event_of(value: bytes) -> MailEvent:
    found = _data.decode(value)
    return MailEvent(
        client=found.client,
        mailing_id=found.mailing_id,
        sub_client=found.sub_client,
        at_ms=found.at_ms,
        first_dispatch=found.first_dispatch,
        first_dispatched_at_ms=found.first_dispatched_at_ms,
        size_bytes=found.size_bytes,
        bounce_class=found.bounce_class,
        reason=found.reason,
        rules=tuple(Violation(each.rule, "") for each in found.rules),
    )


_COUNTED: Final = EventDecoders(_mail_event_of, _tally_of)


class Recount:
    """Counts records one by one."""

    def __init__(self, months: Months) -> None:
        self._months = months
        self._cells: Counter[tuple[str, Cell]] = Counter()
        # The mails whose first final event was passed to discount(), and the mails whose first
        # dispatch was passed to discount().
        self._finals: set[bytes] = set()
        self._dispatches: set[bytes] = set()
        self.records = 0
        self.unreadable = 0
        # The first unreadable records, each as partition:offset.
        self.unreadable_at: list[str] = []

    def add(self, record: EventRecord) -> Event | None:
        """Count one record, and return its event. Return None if the record has no event or has
        invalid content."""
        self.records += 1
        try:
            found = read_event(record.headers, record.value)
            self._add(found, record.timestamp)
        except (CodecError, ValueError):
            self.unreadable += 1
            return None
        return found if isinstance(found, Event) else None

    def note_unreadable(self, partition: int, offset: int) -> None:
        """Store the offset of an unreadable record. Only the first MAX_UNREADABLE_SHOWN offsets are
        stored."""
        if len(self.unreadable_at) < MAX_UNREADABLE_SHOWN:
            self.unreadable_at.append(f"{partition}:{offset}")

    def discount(self, record: EventRecord, doubles: Doubles) -> None:
        """Subtract an event that repeats the final event or the first dispatch of a mail."""
        try:
            found = read_event(record.headers, record.value)
        except (CodecError, ValueError):
            return
        mail_id = parse_mail_id(found.subject) if isinstance(found, Event) else None
        if not isinstance(found, Event) or mail_id is None:
            return
        cells = self._cells_of(found, record.timestamp)
        if found.type in FINAL and self._is_repeat(self._finals, mail_id, doubles.finals):
            self._subtract(each for each in cells if each[0][1].counter not in (BILLED, BYTES))
        if found.data.first_dispatch and self._is_repeat(
            self._dispatches, mail_id, doubles.dispatches
        ):
            self._subtract(each for each in cells if each[0][1].counter in (BILLED, BYTES))

    def _subtract(self, cells: Iterable[tuple[tuple[str, Cell], int]]) -> None:
        for key, number in cells:
            self._cells[key] -= number

    def _is_repeat(self, seen: set[bytes], mail_id: bytes, doubled: Mapping[bytes, int]) -> bool:
        """Add a mail id of `doubled` to `seen`. Return True if the mail id was already in
        `seen`."""
        if mail_id not in doubled:
            return False
        is_repeat = mail_id in seen
        seen.add(mail_id)
        return is_repeat

    def _add(self, found: Event | Tally | None, timestamp: int) -> None:
        match found:
            case Tally():
                day = self._months.day(found.at_ms or timestamp)
                for row in found.rows:
                    _check(row.client, row.mailing_id, row.sub_client)
                    _check_number(row.received, MAX_RECEIVED)
                for row in found.rows:
                    cell = Cell(row.client, row.mailing_id, row.sub_client, RECEIVED, day[8:])
                    self._cells[day[:7], cell] += row.received
            case Event():
                for key, number in self._cells_of(found, timestamp):
                    self._cells[key] += number
            case None:
                pass

    def _cells_of(self, event: Event, timestamp: int) -> list[tuple[tuple[str, Cell], int]]:
        """Return the cells that an event changes, each with its month and the number to add."""
        data = event.data
        _check(data.client, data.mailing_id, data.sub_client)
        _check_number(data.size_bytes, MAX_BYTES)
        at_ms = data.at_ms or timestamp
        day = self._months.day(at_ms)
        counted = [(day, event.type.value, detail, 1) for detail in ("", *_details(event))]
        if data.first_dispatch:
            day = self._months.day(data.first_dispatched_at_ms or at_ms)
            counted += [(day, BILLED, "", 1), (day, BYTES, "", data.size_bytes)]
        mailing = data.client, data.mailing_id, data.sub_client
        return [
            ((day[:7], Cell(*mailing, counter, day[8:], detail)), number)
            for day, counter, detail, number in counted
            if counter in COUNTERS
        ]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self._cells)

    def take(self) -> list[tuple[str, Cell, int]]:
        """Return the counts that were made since the last call as (month, cell, count), and remove
        them.

        A later call may return the same cell again, so the caller has to sum the counts of a cell.
        """
        found = [(month, cell, number) for (month, cell), number in self._cells.items() if number]
        self._cells.clear()
        return found


def _details(event: Event) -> set[str]:
    """Return the details of an event: the rules of a refusal, the reason of a suppression, or the
    class of a bounce."""
    data = event.data
    match event.type:
        case EventType.REFUSED | EventType.SUPPRESSED | EventType.BOUNCED:
            words = [data.bounce_class] if data.bounce_class else []
            words = words or [each.rule for each in data.rules[:MAX_DETAILS]] or [data.reason]
            return {word if _is_word(word) else OTHER for word in words if word}
        case _:
            return set()


def _is_word(text: str) -> bool:
    plain = text.replace("_", "").replace(".", "").replace("-", "")
    return len(text) <= 32 and text[0] not in "_.-" and text.isascii() and plain.isalnum()


def _check(*names: str) -> None:
    if any(len(name) > MAX_NAME_CHARS for name in names):
        raise ValueError("a name is too long")


def _check_number(number: int, most: int) -> None:
    if not 0 <= number <= most:
        raise ValueError(f"{number} is not a number from 0 to {most}")
