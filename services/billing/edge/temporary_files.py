"""The temporary files of the billing service. They contain parts of statements, or counts that are
sorted and compared.

The files are created in TMPDIR without a name, and the system removes them when the process ends.
SortedCounts sums counts up and sorts them by month and cell in an anonymous SQLite database, so
memory is bounded. Each cell has two counts, in the columns `now` and `before`. So counts from two
sources can be compared: cells and statements, or cells and a recount. If a cell is added several
times, its counts are summed up. Each added count is first stored as a row. When the file has many
rows, the rows of each cell are replaced by one row with their sum.

If a file cannot be used, for example because the disk is full, DiskUnavailable is raised. The
billing service reports this error and tries again, as it does for Kafka or the store.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from services.billing.core.cells import Cell
from shared.runtime.errors import Unavailable

_PREFIX: Final = "sluice-billing-"
# The rows of each cell are replaced by their sum when enough rows were added after the last time.
# Enough is this number plus the number of cells that remained the last time.
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
    """A cell and its counts in the two columns."""

    month: str
    cell: Cell
    now: int
    before: int


class DiskUnavailable(Unavailable):
    """A temporary file cannot be written or read."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the errors of files and of SQLite into DiskUnavailable."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise DiskUnavailable(
            f"temporary files in {tempfile.gettempdir()} (TMPDIR): {type(error).__name__}: {error}"
        ) from error


class PartFile:
    """Stores the parts of statements (core/closing/chain.py) in a file. Any thread may read the
    parts."""

    def __init__(self) -> None:
        with disk_errors():
            handle, name = tempfile.mkstemp(prefix=_PREFIX)
            Path(name).unlink()
        self._handle = handle
        self._places: list[tuple[int, int]] = []
        self._end = 0
        weakref.finalize(self, os.close, handle)

    def add(self, part: bytes) -> int:
        """Store a part, and return its number. Raises DiskUnavailable."""
        begin = self._end
        with disk_errors():
            written = 0
            while written < len(part):
                written += os.pwrite(self._handle, part[written:], begin + written)
        self._end += len(part)
        self._places.append((begin, len(part)))
        return len(self._places) - 1

    def get(self, number: int) -> bytes:
        """Return the part with this number. Raises DiskUnavailable."""
        begin, size = self._places[number]
        found = b""
        with disk_errors():
            while len(found) < size:
                more = os.pread(self._handle, size - len(found), begin + len(found))
                if not more:
                    raise OSError(f"the file ends at {begin + len(found)}")
                found += more
        return found


class SortedCounts:
    """Counts in a file, sorted by month and cell. close() removes the file."""

    def __init__(self, max_unsummed: int = MAX_UNSUMMED) -> None:
        self._max_unsummed = max_unsummed
        self._unsummed = 0
        self._summed = 0
        with disk_errors():
            # For the name "", SQLite creates a temporary database on disk.
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
        """Set the counts of a month in the column `now` to 0."""
        with disk_errors():
            self._file.execute("UPDATE counts SET now = 0 WHERE month = ? AND now <> 0", (month,))

    def differences(self) -> Iterator[Compared]:
        """Yield the cells whose two counts differ. They are sorted by month, client, mailing ID,
        sub-client, day, counter and detail."""
        return self._read(f"{_SUM} HAVING sum(now) <> sum(before) ORDER BY {_KEY}")

    def months(self) -> list[str]:
        """Return the months that have counts, in order."""
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
