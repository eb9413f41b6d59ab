"""Creates the tables of the cells in PostgreSQL, and reads and writes the rows of one installation.

The column `installation` has the value of the setting `billing.cells_key`. Each method of
InstallationRows is one step of a transaction. The transactions and connections are in
cells_postgresql.py.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from services.billing.core.cells import decode_cell
from shared.store.client import StoreUnavailable

# Sessions must take this lock before they create tables. If two sessions created the tables at the
# same time, one session would fail.
_SCHEMA_LOCK: Final = 0x51C1CE
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sluice_billing_state (
  installation text PRIMARY KEY,
  log text NOT NULL,         -- the topic id of mail.events; '' if there are no counts
  generation text NOT NULL,
  dropped boolean NOT NULL
);
CREATE TABLE IF NOT EXISTS sluice_billing_watermarks (
  installation text NOT NULL,
  partition integer NOT NULL,
  next_offset bigint,        -- NULL: nothing is counted yet
  hole text NOT NULL,        -- the last month from which records are missing
  PRIMARY KEY (installation, partition)
);
CREATE TABLE IF NOT EXISTS sluice_billing_months (
  installation text NOT NULL,
  month text NOT NULL,
  version bigint NOT NULL,   -- how many runs have changed it
  PRIMARY KEY (installation, month)
);
CREATE TABLE IF NOT EXISTS sluice_billing_cells (
  installation text NOT NULL,
  month text NOT NULL,
  cell_id bytea NOT NULL,    -- a hash of name: an index cannot hold long names
  name text NOT NULL,
  client text NOT NULL,
  mailing_id text NOT NULL,
  sub_client text NOT NULL,
  day text NOT NULL,
  counter text NOT NULL,
  detail text NOT NULL,
  count bigint NOT NULL,
  PRIMARY KEY (installation, month, cell_id)
);
"""
_COLUMNS: Final = (
    "(installation, month, cell_id, name, client, mailing_id, sub_client, day, counter, detail,"
    " count)"
)
COPY: Final = f"COPY sluice_billing_cells {_COLUMNS} FROM STDIN"
ADD: Final = f"""
INSERT INTO sluice_billing_cells AS cells {_COLUMNS}
SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[],
  %s::text[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (installation, month, cell_id) DO UPDATE SET count = cells.count + excluded.count
"""  # noqa: S608 - the text has only names of columns
_STATE: Final = "SELECT log, generation, dropped FROM sluice_billing_state WHERE installation = %s"
_LOCKED_STATE: Final = _STATE + " FOR UPDATE"
_TABLES: Final = ("watermarks", "months", "cells")
Cursor = psycopg.Cursor[Any]
Increments = Iterable[tuple[str, str, int]]


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Create the missing tables. A lock ensures that only one process does this at a time."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        connection.execute(SCHEMA)


@contextmanager
def postgresql_errors() -> Iterator[None]:
    """Within the block, turn every error of psycopg into StoreUnavailable, with one line of
    text."""
    try:
        yield
    except psycopg.Error as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreUnavailable(f"PostgreSQL: {reason}") from error


class InstallationRows:
    """Reads and changes the rows of one installation. The methods may raise psycopg.Error."""

    def __init__(self, installation: str) -> None:
        self._installation = installation

    def state(self, cursor: Cursor, lock: bool = True) -> tuple[str, str, bool]:
        """Return the id of the log, the generation, and True if the counts were dropped. If `lock`
        is True, the row of the installation is locked."""
        if lock:
            cursor.execute(
                "INSERT INTO sluice_billing_state VALUES (%s, '', '', false)"
                " ON CONFLICT (installation) DO NOTHING",
                (self._installation,),
            )
        found = cursor.execute(_LOCKED_STATE if lock else _STATE, (self._installation,)).fetchone()
        return found or ("", "", False)

    def watermarks(self, cursor: Cursor) -> dict[int, int]:
        cursor.execute(
            "SELECT partition, next_offset FROM sluice_billing_watermarks"
            " WHERE installation = %s AND next_offset IS NOT NULL",
            (self._installation,),
        )
        return dict(cursor.fetchall())

    def is_whole(self, cursor: Cursor) -> bool:
        """Return True if every month has cells. A month can lack cells only if somebody has deleted
        rows manually."""
        lost = cursor.execute(
            "SELECT 1 FROM sluice_billing_months AS months WHERE installation = %s AND NOT EXISTS"
            " (SELECT 1 FROM sluice_billing_cells AS cells WHERE cells.installation ="
            " months.installation AND cells.month = months.month) LIMIT 1",
            (self._installation,),
        ).fetchone()
        return lost is None

    def begin(self, cursor: Cursor, log: str) -> None:
        cursor.execute(
            "UPDATE sluice_billing_state SET log = %s, generation = %s, dropped = false"
            " WHERE installation = %s",
            (log, secrets.token_hex(8), self._installation),
        )

    def empty(self, cursor: Cursor, dropped: bool) -> None:
        self.state(cursor)
        for table in _TABLES:
            cursor.execute(
                f"DELETE FROM sluice_billing_{table} WHERE installation = %s",  # noqa: S608
                (self._installation,),
            )
        cursor.execute(
            "UPDATE sluice_billing_state SET log = '', generation = '', dropped = %s"
            " WHERE installation = %s",
            (dropped, self._installation),
        )

    def move(self, cursor: Cursor, partition: int, target: int | None, hole: str) -> None:
        """Set the watermark, unless `target` is None. Set the hole, unless the stored hole is a
        later month."""
        cursor.execute(
            "INSERT INTO sluice_billing_watermarks AS marks VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (installation, partition) DO UPDATE SET"
            " next_offset = coalesce(excluded.next_offset, marks.next_offset),"
            ' hole = greatest(marks.hole COLLATE "C", excluded.hole)',
            (self._installation, partition, target, hole),
        )

    def copy(self, cursor: Cursor, counts: Increments) -> None:
        """Insert new cells. Each cell must occur only once in `counts`, and must not exist in the
        table."""
        with cursor.copy(COPY) as rows:
            for month, name, number in counts:
                cell = decode_cell(name)
                texts = (cell.client, cell.mailing_id, cell.sub_client, cell.day, cell.counter)
                columns = (month, _id_of(name), name, *map(_text, (*texts, cell.detail)), number)
                rows.write_row((self._installation, *columns))

    def add(self, cursor: Cursor, increments: Increments) -> None:
        sums: dict[tuple[str, str], int] = {}
        for month, name, number in increments:
            sums[month, name] = sums.get((month, name), 0) + number
        cells = [decode_cell(name) for _, name in sums]
        ids = [_id_of(name) for _, name in sums]
        columns = (
            [month for month, _ in sums],
            ids,
            [name for _, name in sums],
            [_text(cell.client) for cell in cells],
            [_text(cell.mailing_id) for cell in cells],
            [_text(cell.sub_client) for cell in cells],
            [_text(cell.day) for cell in cells],
            [_text(cell.counter) for cell in cells],
            [_text(cell.detail) for cell in cells],
            list(sums.values()),
        )
        if sums:
            cursor.execute(ADD, (self._installation, *columns))


def _id_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]


def _text(text: str) -> str:
    """Replace the character NUL, because PostgreSQL cannot store NUL in text. The name of the cell
    still contains NUL, as an escape sequence."""
    return text.replace("\x00", "\ufffd")
