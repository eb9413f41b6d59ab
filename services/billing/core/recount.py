"""Counts events a second time, in another way, and lists every difference from the live cells.

Deliberately uses the plain decoder of shared.topics.codec and none of the short cuts of usage.py,
so that a mistake there shows here.

Counts distinct mails, whereas the live cells count each event: a mail with two final events or two
first dispatches is a difference. These mails are known only after all records were added
(shared/audit/doubles.py); a second pass with discount() then subtracts all but the first event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from services.billing.core.month import Months
from services.billing.core.usage import BILLED, COUNTERS, RECEIVED, Cell, EventRecord, decode_cell
from shared.audit.conservation import Doubles, parse_mail_id
from shared.topics.codec import CodecError, decode_event
from shared.topics.records import FINAL, Event, Tally


class Difference(Struct, frozen=True):
    """One cell that the events and the store count differently."""

    month: str
    client: str
    mailing_id: str
    sub_client: str
    counter: str
    recounted: int
    live: int


class Recount:
    """Counts records one by one."""

    def __init__(self, months: Months) -> None:
        self._months = months
        self._cells: Counter[tuple[str, Cell]] = Counter()
        # Mails with several events for which discount() has seen the first.
        self._finals: set[bytes] = set()
        self._dispatches: set[bytes] = set()
        self.records = 0
        self.unreadable = 0

    def add(self, record: EventRecord) -> Event | None:
        """Count one record and return its event, or None for any other content. Never raises for
        the content of a record."""
        self.records += 1
        try:
            found = decode_event(record.headers, record.value)
            self._add(found, record.timestamp)
        except (CodecError, ValueError):
            self.unreadable += 1
            return None
        return found if isinstance(found, Event) else None

    def discount(self, record: EventRecord, doubles: Doubles) -> None:
        """Subtract an event that repeats the final event or the first dispatch of a mail."""
        try:
            found = decode_event(record.headers, record.value)
        except (CodecError, ValueError):
            return
        mail_id = parse_mail_id(found.subject) if isinstance(found, Event) else None
        if not isinstance(found, Event) or mail_id is None:
            return
        cells = self._cells_of(found, record.timestamp)
        if found.type in FINAL and self._is_repeat(self._finals, mail_id, doubles.finals):
            self._cells[cells[found.type.value]] -= 1
        if found.data.first_dispatch and self._is_repeat(
            self._dispatches, mail_id, doubles.dispatches
        ):
            self._cells[cells[BILLED]] -= 1

    def _is_repeat(self, seen: set[bytes], mail_id: bytes, doubled: Mapping[bytes, int]) -> bool:
        """Whether this doubled mail id was seen before; also marks it as seen."""
        if mail_id not in doubled:
            return False
        is_repeat = mail_id in seen
        seen.add(mail_id)
        return is_repeat

    def _add(self, found: Event | Tally | None, timestamp: int) -> None:
        match found:
            case Tally():
                month = self._months.of(found.at_ms or timestamp)
                for row in found.rows:
                    cell = Cell(row.client, row.mailing_id, row.sub_client, RECEIVED)
                    self._cells[month, cell] += row.received
            case Event():
                self._cells.update(self._cells_of(found, timestamp).values())
            case None:
                pass

    def _cells_of(self, event: Event, timestamp: int) -> dict[str, tuple[str, Cell]]:
        """The month and cell that an event counts in, by counter."""
        data = event.data
        at_ms = data.at_ms or timestamp
        months = {event.type.value: self._months.of(at_ms)}
        if data.first_dispatch:
            months[BILLED] = self._months.of(data.first_dispatched_at_ms or at_ms)
        return {
            counter: (month, Cell(data.client, data.mailing_id, data.sub_client, counter))
            for counter, month in months.items()
            if counter in COUNTERS
        }

    def months(self) -> list[str]:
        """The months that have counts, in order."""
        return sorted({month for month, _ in self._cells})

    def differences(self, month: str, live: dict[str, int]) -> list[Difference]:
        """Every cell of `month` whose live count differs, in order of the cells."""
        counted = {cell: number for (of, cell), number in self._cells.items() if of == month}
        stored = {decode_cell(name): number for name, number in live.items()}
        return [
            Difference(
                month=month,
                client=cell.client,
                mailing_id=cell.mailing_id,
                sub_client=cell.sub_client,
                counter=cell.counter,
                recounted=counted.get(cell, 0),
                live=stored.get(cell, 0),
            )
            for cell in sorted(counted.keys() | stored.keys())
            if counted.get(cell, 0) != stored.get(cell, 0)
        ]
