"""The rows of one installation in PostgreSQL: each method is one step of a transaction.

Does not own: transactions and connections (cells_postgresql.py).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Final

import psycopg

from services.billing.core.cells import decode_cell
from services.billing.edge.postgresql_schema import ADD, COPY

_STATE: Final = "SELECT log, generation, dropped FROM sluice_billing_state WHERE installation = %s"
_LOCKED_STATE: Final = _STATE + " FOR UPDATE"
_TABLES: Final = ("watermarks", "months", "cells")

Cursor = psycopg.Cursor[Any]
Increments = Iterable[tuple[str, str, int]]


class InstallationRows:
    """Reads and changes the rows of an installation. Methods may raise psycopg.Error."""

    def __init__(self, installation: str) -> None:
        self._installation = installation

    def state(self, cursor: Cursor, lock: bool = True) -> tuple[str, str, bool]:
        """The log, the generation, and whether the counts were dropped; locks the installation."""
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
        """Whether every month has cells; rows may have been deleted by hand."""
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
        """Move a watermark, unless it is None, and a hole, unless it has a later month."""
        cursor.execute(
            "INSERT INTO sluice_billing_watermarks AS marks VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (installation, partition) DO UPDATE SET"
            " next_offset = coalesce(excluded.next_offset, marks.next_offset),"
            ' hole = greatest(marks.hole COLLATE "C", excluded.hole)',
            (self._installation, partition, target, hole),
        )

    def copy(self, cursor: Cursor, counts: Increments) -> None:
        """Put cells in place of which none is there, each named once."""
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
    """PostgreSQL stores no NUL in text; the name keeps it, escaped."""
    return text.replace("\x00", "\ufffd")
