"""A view is an SQLite file with the counts of one month at one moment. The pages of an answer are
read from this file.

The cells in the store are not sorted, and a million cells are too many to sort for each page. So
the cells are sorted once and written to two tables. One table has rows per mailing, and the other
table has rows per mailing and day. Rows are read in the order of the primary key. The file is
removed when the view is no longer referenced.

SQLite returns a page as one JSON document. If rows were read one by one, Python's interpreter lock
would be released for each row, and then this thread would have to wait for other threads each time.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from services.billing.core.cells import COUNTERS, Cell
from services.billing.core.usage_api.query import Filters
from services.billing.core.usage_api.tables import UsageRow
from services.billing.edge.views.filling import decode_details, fill, register_merging

_COLUMNS: Final = ("client", "mailing_id", "sub_client", "day")
_COUNTS: Final = ", ".join(f'"{counter}"' for counter in COUNTERS)
_SUMS: Final = ", ".join(f'sum("{counter}")' for counter in COUNTERS)
_AFTER_ALL_DAYS: Final = "~"

Stored = Sequence[Any]

_page: Final = msgspec.json.Decoder(list[list[str | int | None]])


class View:
    """The SQLite file of one month. Any thread may read it."""

    def __init__(self, month: str, cells: Iterable[tuple[Cell, int]], folder: Path) -> None:
        """Sort these cells into a new file in this folder. Raises sqlite3.Error, OSError."""
        self.month = month
        handle, name = tempfile.mkstemp(".sqlite", f"{month}-", folder)
        os.close(handle)
        self._path = Path(name)
        weakref.finalize(self, self._path.unlink, missing_ok=True)
        with closing(sqlite3.connect(self._path)) as file:
            self._totals = fill(file, cells)
            file.commit()

    def is_there(self) -> bool:
        """Return True if the file still exists."""
        return self._path.exists()

    def rows(
        self,
        group: Sequence[str],
        filters: Filters,
        after: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[UsageRow]:
        """Yield at most `limit` rows of a grouping, in order. Only rows after the key `after` are
        yielded."""
        own = [name for name in group if name != "month"]
        prefix = (self.month,) if "month" in group else ()
        if after is not None and prefix:
            if self.month < after[0] or (self.month == after[0] and not own):
                return
            after = after[1:] if self.month == after[0] else None
        if not own and after is not None:
            return  # The only row was on the previous page.
        if not own and filters == Filters():
            yield UsageRow(prefix, self._totals.counts, self._totals.details)
            return
        has_day = "day" in own
        statement, values = _select(own, filters, self._within(own, after))
        for found in self._stored(statement, values, limit, len(own) + len(COUNTERS) + 1):
            key, counts = found[: len(own)], found[len(own) : -1]
            if counts[0] is None:
                continue  # No row matches, so all sums are NULL.
            if has_day and key[-1]:  # The day is the last part of a key.
                key = (*key[:-1], f"{self.month}-{key[-1]}")
            yield UsageRow((*prefix, *key), tuple(counts), decode_details(found[-1]))

    def _stored(
        self, statement: str, values: list[str | int], limit: int | None, width: int
    ) -> Iterator[Stored]:
        # Only one thread at a time uses this connection, but each row may be read by another
        # thread.
        address = f"file:{self._path}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as file:
            register_merging(file)
            if limit is None:
                yield from file.execute(statement, values)
                return
            (whole,) = file.execute(_as_one(statement, width), [*values, limit]).fetchone()
        yield from _page.decode(whole)

    def _within(self, own: Sequence[str], after: Sequence[str] | None) -> list[str] | None:
        """Return the key `after` with the day in the stored form, which has no month."""
        if after is None:
            return None
        found = []
        for name, part in zip(own, after, strict=True):
            if name != "day" or not part:
                found.append(part)
            elif part[:7] == self.month:
                found.append(part[8:])
            else:  # all days of this month are before the key, or all are after the key
                found.append("" if part[:7] < self.month else _AFTER_ALL_DAYS)
        return found


def _select(
    own: Sequence[str], filters: Filters, after: Sequence[str] | None
) -> tuple[str, list[str | int]]:
    """Return the SQL statement for a grouping. The column names in the statement are from KEYS,
    never from a request."""
    table = "days" if "day" in own else "mailings"
    whole = _COLUMNS if table == "days" else _COLUMNS[:3]
    conditions, values = list[str](), list[str | int]()
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


def _as_one(statement: str, width: int) -> str:
    """Return an SQL statement that yields the rows of `statement` as one JSON array. The new
    statement has a parameter for the limit."""
    columns = ", ".join(f"column{number}" for number in range(width))
    rows = f"WITH page({columns}) AS ({statement} LIMIT ?)"
    return f"{rows} SELECT json_group_array(json_array({columns})) FROM page"  # noqa: S608
