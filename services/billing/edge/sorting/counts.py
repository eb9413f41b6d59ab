"""Counts by month and cell, summed up and sorted in a file: memory is bounded.

Each count has two columns, `now` and `before`, so that two sources can be compared: the cells and
what is stated, or the cells and a recount. A cell may be added any number of times; its counts are
summed. Counts are written as they come; when they are many, they are summed in the file.

The file is an anonymous database of SQLite in TMPDIR, which nobody else sees. All methods may raise
DiskUnavailable. For one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct

from services.billing.core.cells import Cell
from services.billing.edge.sorting.disk import disk_errors

# Counts that may be there unsummed, in addition to as many as there were cells at the last time.
MAX_UNSUMMED: Final = 2_000_000
_CACHE_KIB: Final = 16 * 1024
_KEY: Final = "month, client, mailing_id, sub_client, day, counter, detail"
_TABLE: Final = f"({_KEY}, now INTEGER, before INTEGER)"
_SCHEMA: Final = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -{_CACHE_KIB};
CREATE TABLE counts {_TABLE};
"""
_ADD: Final = "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SUM: Final = f"SELECT {_KEY}, sum(now), sum(before) FROM counts GROUP BY {_KEY}"  # noqa: S608
_SUM_UP: Final = f"""
CREATE TABLE summed {_TABLE};
INSERT INTO summed {_SUM};
DROP TABLE counts;
ALTER TABLE summed RENAME TO counts;
"""

Row = tuple[str, Cell, int]


class Compared(Struct, frozen=True):
    """A cell and its two counts."""

    month: str
    cell: Cell
    now: int
    before: int


class SortedCounts:
    """The counts. close() removes the file."""

    def __init__(self, max_unsummed: int = MAX_UNSUMMED) -> None:
        self._max_unsummed = max_unsummed
        self._unsummed = 0
        self._summed = 0
        with disk_errors():
            # "" is a temporary database on disk.
            self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._file.executescript(_SCHEMA)

    def add_now(self, rows: Iterable[Row]) -> None:
        """Add counts to the column `now`."""
        self._add((_stored(month, cell, number, 0) for month, cell, number in rows))

    def add_before(self, rows: Iterable[Row]) -> None:
        """Add counts to the column `before`."""
        self._add((_stored(month, cell, 0, number) for month, cell, number in rows))

    def remove(self, month: str) -> None:
        """Remove the counts of a month."""
        with disk_errors():
            self._file.execute("DELETE FROM counts WHERE month = ?", (month,))

    def clear_now(self, month: str) -> None:
        """Remove the counts of a month from the column `now`."""
        with disk_errors():
            self._file.execute("UPDATE counts SET now = 0 WHERE month = ? AND now <> 0", (month,))

    def differences(self) -> Iterator[Compared]:
        """The cells whose columns differ, in order of month, client, mailing ID, sub-client, day,
        counter and detail."""
        return self._read(f"{_SUM} HAVING sum(now) <> sum(before) ORDER BY {_KEY}")

    def months(self) -> list[str]:
        """The months that have counts, in order."""
        with disk_errors():
            found = self._file.execute("SELECT DISTINCT month FROM counts ORDER BY month")
            return [month for (month,) in found]

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        with disk_errors():
            self._file.execute("BEGIN")
            try:
                self._unsummed += max(0, self._file.executemany(_ADD, rows).rowcount)
            finally:
                self._file.execute("COMMIT")
            if self._unsummed > self._max_unsummed + self._summed:
                self._file.executescript(_SUM_UP)
                (self._summed,) = self._file.execute("SELECT count(*) FROM counts").fetchone()
                self._unsummed = 0

    def _read(self, statement: str) -> Iterator[Compared]:
        with disk_errors():
            rows = self._file.execute(statement)
            for month, client, mailing_id, sub_client, day, counter, detail, now, before in rows:
                cell = Cell(client, mailing_id, sub_client, counter, day, detail)
                yield Compared(month, cell, now, before)


def _stored(month: str, cell: Cell, now: int, before: int) -> tuple[Any, ...]:
    return (
        month,
        cell.client,
        cell.mailing_id,
        cell.sub_client,
        cell.day,
        cell.counter,
        cell.detail,
        now,
        before,
    )
