"""Counts events a second time, in another way, and names every difference to the live cells.

Deliberately the plain reading of shared.topics.codec and none of usage.py's short cuts, so
that a mistake there shows here.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from services.billing.core.month import Months
from services.billing.core.usage import BILLED, COUNTERS, RECEIVED, Cell, EventRecord, decode_cell
from shared.topics.codec import CodecError, decode_event
from shared.topics.records import Event, Tally


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
    """Adds up records one by one."""

    def __init__(self, months: Months) -> None:
        self._months = months
        self._cells: Counter[tuple[str, Cell]] = Counter()
        self.records = 0
        self.unreadable = 0

    def add(self, record: EventRecord) -> None:
        """Count one record. Never raises for what it holds."""
        self.records += 1
        try:
            self._add(decode_event(record.headers, record.value), record.timestamp)
        except (CodecError, ValueError):
            self.unreadable += 1

    def _add(self, found: Event | Tally | None, timestamp: int) -> None:
        match found:
            case Tally():
                month = self._months.of(found.at_ms or timestamp)
                for row in found.rows:
                    cell = Cell(row.client, row.mailing_id, row.sub_client, RECEIVED)
                    self._cells[month, cell] += row.received
            case Event():
                data = found.data
                at_ms = data.at_ms or timestamp
                words = {found.type.value: self._months.of(at_ms)}
                if data.first_dispatch:
                    words[BILLED] = self._months.of(data.first_dispatched_at_ms or at_ms)
                for counter, month in words.items():
                    if counter in COUNTERS:
                        cell = Cell(data.client, data.mailing_id, data.sub_client, counter)
                        self._cells[month, cell] += 1
            case None:
                pass

    def months(self) -> list[str]:
        """The months of which something was counted, in order."""
        return sorted({month for month, _ in self._cells})

    def differences(self, month: str, live: dict[str, int]) -> list[Difference]:
        """Every cell of `month` whose live count is another; in order of the cells."""
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
