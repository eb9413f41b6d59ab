"""A view: the cells of one month at one moment, in an SQLite file that pages are read from.

A million cells are too many to sort for each page, and the stores keep them in no order. So they
are sorted once, into two tables: rows per mailing, and rows per mailing and day. Reading is
streamed, in the order of the primary key. The file is removed when nobody holds the view any more.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from services.billing.core.cells import COUNTERS, Cell
from services.billing.core.usage_api.query import Filters
from services.billing.core.usage_api.rows import Details, UsageRow, add_details

_COLUMNS: Final = ("client", "mailing_id", "sub_client", "day")
_COUNTS: Final = ", ".join(f'"{counter}"' for counter in COUNTERS)
_SUMS: Final = ", ".join(f'sum("{counter}")' for counter in COUNTERS)
_INDEX: Final = {counter: place for place, counter in enumerate(COUNTERS)}
_MARKS: Final = ", ".join("?" * len(COUNTERS))
_SCHEMA: Final = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE cells (client TEXT, mailing_id TEXT, sub_client TEXT, day TEXT, counter TEXT,
  detail TEXT, count INTEGER);
CREATE TABLE days (client TEXT, mailing_id TEXT, sub_client TEXT, day TEXT,
  {", ".join(f'"{counter}" INTEGER' for counter in COUNTERS)}, details TEXT,
  PRIMARY KEY (client, mailing_id, sub_client, day)) WITHOUT ROWID;
CREATE TABLE mailings (client TEXT, mailing_id TEXT, sub_client TEXT,
  {", ".join(f'"{counter}" INTEGER' for counter in COUNTERS)}, details TEXT,
  PRIMARY KEY (client, mailing_id, sub_client)) WITHOUT ROWID;
"""
_ADD_CELL: Final = "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)"
_ADD_DAY: Final = f"INSERT INTO days VALUES (?, ?, ?, ?, {_MARKS}, ?)"  # noqa: S608
_ADD_MAILING: Final = f"INSERT INTO mailings VALUES (?, ?, ?, {_MARKS}, ?)"  # noqa: S608
_SORTED: Final = (
    "SELECT client, mailing_id, sub_client, day, counter, detail, count FROM cells"
    " ORDER BY client, mailing_id, sub_client, day"
)
_BATCH: Final = 500
_AFTER_ALL_DAYS: Final = "~"

Stored = tuple[Any, ...]


class View:
    """The file of one month. Any thread may read."""

    def __init__(self, month: str, cells: Iterable[tuple[Cell, int]], folder: Path) -> None:
        """Sort these cells into a new file in this folder. Raises sqlite3.Error, OSError."""
        self.month = month
        handle, name = tempfile.mkstemp(".sqlite", f"{month}-", folder)
        os.close(handle)
        self._path = Path(name)
        weakref.finalize(self, self._path.unlink, missing_ok=True)
        with closing(sqlite3.connect(self._path)) as file:
            file.executescript(_SCHEMA)
            file.executemany(_ADD_CELL, map(_cell_of, _known(cells)))
            self._totals = self._sort(file)
            file.execute("DROP TABLE cells")
            file.commit()

    def is_there(self) -> bool:
        """Whether nobody has removed the file."""
        return self._path.exists()

    def rows(
        self, group: Sequence[str], filters: Filters, after: Sequence[str] | None = None
    ) -> Iterator[UsageRow]:
        """The rows of a grouping, in order; only those after this key."""
        own = [name for name in group if name != "month"]
        prefix = (self.month,) if "month" in group else ()
        if after is not None and prefix:
            if self.month < after[0] or (self.month == after[0] and not own):
                return
            after = after[1:] if self.month == after[0] else None
        if not own and filters == Filters():
            yield UsageRow(prefix, self._totals.counts, self._totals.details)
            return
        statement, values = _select(own, filters, self._within(own, after))
        # The pieces of a file are read one after another, each by whichever thread is free.
        address = f"file:{self._path}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as file:
            file.create_aggregate("merged", 1, _Merge)  # type: ignore[arg-type]
            for found in file.execute(statement, values):
                key, counts = found[: len(own)], found[len(own) : -1]
                if counts[0] is None:
                    continue  # the sum of no rows
                named = tuple(
                    f"{self.month}-{part}" if name == "day" and part else part
                    for name, part in zip(own, key, strict=True)
                )
                yield UsageRow((*prefix, *named), counts, _details(found[-1]))

    def _within(self, own: Sequence[str], after: Sequence[str] | None) -> list[str] | None:
        """The key with its day as it is stored, without the month."""
        if after is None:
            return None
        found = []
        for name, part in zip(own, after, strict=True):
            if name != "day" or not part:
                found.append(part)
            elif part[:7] == self.month:
                found.append(part[8:])
            else:  # all days of this month are before it, or after it
                found.append("" if part[:7] < self.month else _AFTER_ALL_DAYS)
        return found

    def _sort(self, file: sqlite3.Connection) -> UsageRow:
        """Fill the two tables; return the sums of all cells."""
        total, words = [0] * len(COUNTERS), Details()
        days: list[Stored] = []
        mailings: list[Stored] = []
        ordered = file.execute(_SORTED)
        for mailing, cells in groupby(ordered, key=lambda cell: cell[:3]):
            whole, parts = [0] * len(COUNTERS), Details()
            for day, of_day in groupby(cells, key=lambda cell: cell[3]):
                counts, details = _gathered(of_day)
                days.append((*mailing, day, *counts, _encoded(details)))
                whole = [one + other for one, other in zip(whole, counts, strict=True)]
                add_details(parts, details)
            mailings.append((*mailing, *whole, _encoded(parts)))
            total = [one + other for one, other in zip(total, whole, strict=True)]
            add_details(words, parts)
            if len(days) >= _BATCH:
                file.executemany(_ADD_DAY, days)
                file.executemany(_ADD_MAILING, mailings)
                days, mailings = [], []
        file.executemany(_ADD_DAY, days)
        file.executemany(_ADD_MAILING, mailings)
        return UsageRow((), tuple(total), _details(_encoded(words)))


class _Merge:
    """Merges details, as an aggregate of SQLite."""

    def __init__(self) -> None:
        self._found: Details = {}

    def step(self, text: str) -> None:
        if text:
            add_details(self._found, _details(text))

    def finalize(self) -> str:
        return _encoded(self._found)


def _select(
    own: Sequence[str], filters: Filters, after: Sequence[str] | None
) -> tuple[str, list[str]]:
    """The statement for a grouping. Names of columns come from KEYS, never from a request."""
    table = "days" if "day" in own else "mailings"
    whole = _COLUMNS if table == "days" else _COLUMNS[:3]
    conditions, values = [], []
    for name in ("client", "mailing_id", "sub_client"):
        wanted = getattr(filters, name)
        if wanted is not None:
            conditions.append(f"{name} = ?")
            values.append(wanted)
    if after:
        conditions.append(f"({', '.join(own)}) > ({', '.join('?' * len(own))})")
        values += after
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    names = "".join(f"{name}, " for name in own)
    order = ", ".join(own)
    if tuple(own) == whole:
        return f"SELECT {names}{_COUNTS}, details FROM {table}{where} ORDER BY {order}", values  # noqa: S608
    rest = f" GROUP BY {order} ORDER BY {order}" if own else ""
    return f"SELECT {names}{_SUMS}, merged(details) FROM {table}{where}{rest}", values  # noqa: S608


def _known(cells: Iterable[tuple[Cell, int]]) -> Iterator[tuple[Cell, int]]:
    return ((cell, number) for cell, number in cells if cell.counter in _INDEX)


def _cell_of(counted: tuple[Cell, int]) -> Stored:
    cell, number = counted
    return (
        cell.client,
        cell.mailing_id,
        cell.sub_client,
        cell.day,
        cell.counter,
        cell.detail,
        number,
    )


def _gathered(cells: Iterable[Stored]) -> tuple[list[int], Details]:
    counts, details = [0] * len(COUNTERS), Details()
    for *_, counter, detail, number in cells:
        if detail:
            add_details(details, {counter: {detail: number}})
        else:
            counts[_INDEX[counter]] += number
    return counts, details


def _encoded(details: Details) -> str:
    if not details:
        return ""
    ordered = {counter: dict(sorted(details[counter].items())) for counter in sorted(details)}
    return msgspec.json.encode(ordered).decode()


def _details(text: str) -> Details:
    return msgspec.json.decode(text, type=Details) if text else {}
