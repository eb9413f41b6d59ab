"""Fills the file of a view with sorted rows, which are made from unsorted cells.

The cells are summed up to rows in memory. When there are MAX_ROWS rows, they are sorted and added
to the table of days, which is sorted by its primary key. So cells are not written one by one, and
memory is bounded. A month with more than MAX_ROWS rows is written in several rounds. Several rounds
take longer, because a row that has cells in several rounds is written several times. The sums per
mailing are computed from the table of days (decision 0152).
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from services.billing.core.cells import COUNTERS, Cell
from services.billing.core.usage_api.tables import Details, UsageRow, add_details

# The highest number of rows in memory. A row takes about 350 bytes, and 700 bytes while the rows
# are written.
MAX_ROWS: Final = 250_000
_WIDTH: Final = len(COUNTERS)
_ZEROS: Final = (0,) * _WIDTH
_INDEX: Final = {counter: place for place, counter in enumerate(COUNTERS)}
_SUMS: Final = ", ".join(f'sum("{counter}")' for counter in COUNTERS)
_ADDED: Final = ", ".join(f'"{name}" = "{name}" + excluded."{name}"' for name in COUNTERS)
_MARKS: Final = ", ".join("?" * _WIDTH)
SCHEMA: Final = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE days (client TEXT, mailing_id TEXT, sub_client TEXT, day TEXT,
  {", ".join(f'"{counter}" INTEGER' for counter in COUNTERS)}, details TEXT,
  PRIMARY KEY (client, mailing_id, sub_client, day)) WITHOUT ROWID;
CREATE TABLE mailings (client TEXT, mailing_id TEXT, sub_client TEXT,
  {", ".join(f'"{counter}" INTEGER' for counter in COUNTERS)}, details TEXT,
  PRIMARY KEY (client, mailing_id, sub_client)) WITHOUT ROWID;
"""
_ADD_DAY: Final = (
    f"INSERT INTO days VALUES (?, ?, ?, ?, {_MARKS}, ?)"  # noqa: S608 - only names of counters
    f" ON CONFLICT DO UPDATE SET {_ADDED}, details = joined(details, excluded.details)"
)
_MAILINGS: Final = (
    f"INSERT INTO mailings SELECT client, mailing_id, sub_client, {_SUMS}, merged(details)"  # noqa: S608
    " FROM days GROUP BY client, mailing_id, sub_client ORDER BY client, mailing_id, sub_client"
)
_TOTAL: Final = f"SELECT {_SUMS}, merged(details) FROM mailings"  # noqa: S608

Key = tuple[str, str, str, str]  # client, mailing ID, sub-client, day


def fill(
    file: sqlite3.Connection, cells: Iterable[tuple[Cell, int]], max_rows: int = MAX_ROWS
) -> UsageRow:
    """Fill the tables, and return the sums of all cells. Raises sqlite3.Error."""
    file.executescript(SCHEMA)
    register_merging(file)
    rows, index_of = _Rows(), _INDEX.get
    for cell, number in cells:
        place = index_of(cell.counter)
        if place is None:
            continue
        if len(rows) >= max_rows:
            rows = rows.written_to(file)
        rows.add(cell, place, number)
    rows.written_to(file)
    file.execute(_MAILINGS)
    *counts, words = file.execute(_TOTAL).fetchone()
    return UsageRow((), tuple(each or 0 for each in counts), decode_details(words))


class _Rows:
    """Rows in memory. To save memory, equal texts share one object, and all counts are in one
    array."""

    def __init__(self) -> None:
        self._places: dict[Key, int] = {}
        self._counts = array("q")
        self._details: dict[Key, Details] = {}
        self._texts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, cell: Cell, place: int, number: int) -> None:
        """Add the count of a cell to its row."""
        key = (cell.client, cell.mailing_id, cell.sub_client, cell.day)
        at = self._places.get(key)
        if at is None:
            one = self._texts.setdefault
            client, mailing_id, sub_client, day = key
            key = (one(client, client), one(mailing_id, mailing_id), one(sub_client, sub_client),
                one(day, day))  # fmt: skip
            at = self._places[key] = len(self._counts)
            self._counts.extend(_ZEROS)
        if cell.detail:
            add_details(self._details.setdefault(key, {}), {cell.counter: {cell.detail: number}})
        else:
            self._counts[at + place] += number

    def written_to(self, file: sqlite3.Connection) -> _Rows:
        """Sort the rows and add them to the table of days. Return an empty _Rows for the next
        rows."""
        counts, encoded = self._counts, self._details
        file.executemany(
            _ADD_DAY,
            (
                (*key, *counts[at : at + _WIDTH], encode_details(encoded.get(key, {})))
                for key, at in sorted(self._places.items())
            ),
        )
        return _Rows()


def register_merging(file: sqlite3.Connection) -> None:
    """Register the SQL functions that merge details. `merged` is for any number of rows, and
    `joined` is for two rows."""
    file.create_aggregate("merged", 1, _Merge)  # type: ignore[arg-type]
    file.create_function("joined", 2, _joined, deterministic=True)


def decode_details(text: str) -> Details:
    """Decode the stored details of a row."""
    return msgspec.json.decode(text, type=Details) if text else {}


class _Merge:
    """An aggregate function of SQLite that merges details."""

    def __init__(self) -> None:
        self._found: Details = {}

    def step(self, text: str) -> None:
        if text:
            add_details(self._found, decode_details(text))

    def finalize(self) -> str:
        return encode_details(self._found)


def _joined(one: str, other: str) -> str:
    if not one or not other:
        return one or other
    found = decode_details(one)
    add_details(found, decode_details(other))
    return encode_details(found)


def encode_details(details: Details) -> str:
    """Return the details in the stored form, which is "" if there are no details."""
    if not details:
        return ""
    ordered: dict[str, Any] = {
        counter: dict(sorted(details[counter].items())) for counter in sorted(details)
    }
    return msgspec.json.encode(ordered).decode()
