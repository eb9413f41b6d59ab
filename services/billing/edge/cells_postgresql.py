"""The live cells in PostgreSQL, for installations that read their counts with SQL.

The counts of a run and the new watermark are written in one transaction. The transaction first
locks the row of the installation in sluice_billing_state, so only one process writes at a time. A
read is one REPEATABLE READ transaction, so its cells and watermarks are from the same moment.
Missing tables are created. The setting `cells_key` is the name of the installation. The definitions
of the tables and the SQL statements are in postgresql_rows.py.

After an error the connection is replaced. If the server did not answer the commit of a run, the run
may still have been applied. In this case, the watermark shows whether the run was applied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, TypeVar

import psycopg
from psycopg.errors import UniqueViolation

from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.cells import NO_WATERMARK, FollowsWhole
from services.billing.edge.postgresql_rows import (
    Cursor,
    InstallationRows,
    make_tables,
    postgresql_errors,
)
from shared.store.apply_cells import Applied, OtherLog, Run, Stale
from shared.store.client import StoreUnavailable
from shared.store.read_cells import ALL_MONTHS, Counts, Snapshot
from shared.store.restore_cells import RepeatedCell

CONNECT_TIMEOUT_S: Final = 3
STATEMENT_TIMEOUT_MS: Final = 30_000

_PIECE: Final = 5_000
# The number of cells that one statement writes. A statement must end within STATEMENT_TIMEOUT_MS.
_COPIED: Final = 20_000

T = TypeVar("T")


class PostgresCells:
    """Cells in PostgreSQL. Thread-safe: only one call runs at a time."""

    def __init__(self, url: str, installation: str, password: str = "") -> None:
        self._url = url
        self._password = password
        self._installation = installation
        self._rows = InstallationRows(installation)
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._has_tables = False  # True as soon as this process has created or found the tables

    def apply(self, run: Run) -> Applied | Stale | OtherLog:
        """Add the counts of a run and move the watermark of its partition in one atomic step."""
        return self._in_transaction(lambda cursor: self._apply(cursor, run))

    def read(self, *months: str) -> Snapshot:
        """Return the cells of these months (YYYY-MM) or of ALL_MONTHS, with the watermarks."""
        return self._in_transaction(lambda cursor: self._read(cursor, months))

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Counts]]:
        """Yield a snapshot without cells, and an iterator over the cells that these months had
        at the moment of the snapshot.

        This read has its own connection, so that no other call waits for the read.
        """
        with self._of_one_moment() as (connection, found):
            wanted = sorted({*months} & found.versions.keys()) if found.whole else []
            yield found, self._pieces(connection, wanted)

    def follow(self, counters: Sequence[str]) -> FollowsWhole:
        """Return a follower of the sums over all mailings and days. The server computes these
        sums."""

        @contextmanager
        def read(month: str) -> Iterator[tuple[Snapshot, Counts]]:
            with self._of_one_moment() as (connection, found):
                is_there = found.whole and month in found.versions
                yield found, self._sums(connection, month, counters) if is_there else iter(())

        return FollowsWhole(read)

    @contextmanager
    def _of_one_moment(self) -> Iterator[tuple[psycopg.Connection[Any], Snapshot]]:
        with postgresql_errors(), self._open() as connection, connection.transaction():
            with connection.cursor() as cursor:
                found = self._read(cursor, ())
            yield connection, found

    def _sums(
        self, connection: psycopg.Connection[Any], month: str, counters: Sequence[str]
    ) -> Counts:
        rows = connection.execute(
            "SELECT client, sub_client, counter, sum(count)::bigint FROM sluice_billing_cells"
            " WHERE installation = %s AND month = %s AND counter = ANY(%s) AND detail = ''"
            " GROUP BY client, sub_client, counter",
            (self._installation, month, list(counters)),
        )
        for client, sub_client, counter, number in rows:
            yield month, encode_cell(Cell(client, "", sub_client, counter)), number

    def _pieces(self, connection: psycopg.Connection[Any], months: Iterable[str]) -> Counts:
        for month in months:
            with connection.cursor("cells") as rows:
                rows.itersize = _PIECE
                rows.execute(
                    "SELECT month, name, count FROM sluice_billing_cells"
                    " WHERE installation = %s AND month = %s",
                    (self._installation, month),
                )
                yield from rows

    def restore(self, found: Snapshot, counts: Counts) -> bool:
        """If the store has no counts, store a snapshot of all months, and return True."""
        return self._in_transaction(lambda cursor: self._restore(cursor, found, counts))

    def adopt(self, log: str, month: str, partitions: Iterable[int]) -> str:
        """Keep the counts. After this call, another log is counted from its beginning."""
        return self._in_transaction(lambda cursor: self._adopt(cursor, log, month, partitions))

    def drop(self) -> None:
        """Drop all counts. The workers then count the log again from its beginning."""
        self._in_transaction(lambda cursor: self._rows.empty(cursor, dropped=True))

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    def _apply(self, cursor: Cursor, run: Run) -> Applied | Stale | OtherLog:
        log, _, dropped = self._rows.state(cursor)
        if log not in ("", run.log):
            return OtherLog(log)
        if log and not self._rows.is_whole(cursor):
            self._rows.empty(cursor, dropped=dropped)
            return Stale(NO_WATERMARK, dropped=True)
        stored = self._rows.watermarks(cursor).get(run.partition, NO_WATERMARK)
        if stored != run.expected:
            return Stale(stored)
        if not log:
            self._rows.begin(cursor, run.log)
        for month in dict.fromkeys(month for month, _, _ in run.increments):
            cursor.execute(
                "INSERT INTO sluice_billing_months AS months VALUES (%s, %s, 1)"
                " ON CONFLICT (installation, month) DO UPDATE SET version = months.version + 1",
                (self._installation, month),
            )
        self._rows.add(cursor, run.increments)
        self._rows.move(
            cursor, run.partition, run.target if run.target != stored else None, run.hole
        )
        return Applied()

    def _read(self, cursor: Cursor, months: Iterable[str]) -> Snapshot:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        log, generation, dropped = self._rows.state(cursor, lock=False)
        is_whole = self._rows.is_whole(cursor)
        wanted = list(months)
        versions = dict(
            cursor.execute(
                "SELECT month, version FROM sluice_billing_months WHERE installation = %s",
                (self._installation,),
            ).fetchall()
        )
        found: dict[str, dict[str, int]] = {
            month: {} for month in versions if is_whole and {ALL_MONTHS, month} & set(wanted)
        }
        if found:
            cursor.execute(
                "SELECT month, name, count FROM sluice_billing_cells"
                " WHERE installation = %s AND month = ANY(%s)",
                (self._installation, list(found)),
            )
            for month, name, number in cursor:
                found[month][name] = number
        holes = cursor.execute(
            "SELECT partition, hole FROM sluice_billing_watermarks"
            " WHERE installation = %s AND hole <> ''",
            (self._installation,),
        ).fetchall()
        marks = self._rows.watermarks(cursor)
        return Snapshot(is_whole, log, marks, dict(holes), found, generation, versions, dropped)

    def _restore(self, cursor: Cursor, found: Snapshot, counts: Counts) -> bool:
        log, _, dropped = self._rows.state(cursor)
        if log or dropped:
            return False
        self._rows.empty(cursor, dropped=False)
        self._rows.begin(cursor, found.log)
        for month in found.versions:
            cursor.execute(
                "INSERT INTO sluice_billing_months VALUES (%s, %s, 1)", (self._installation, month)
            )
        while batch := list(islice(counts, _COPIED)):
            try:
                self._rows.copy(cursor, batch)
            except UniqueViolation:
                raise RepeatedCell(batch[0][0]) from None
        for partition in found.watermarks.keys() | found.holes.keys():
            target = found.watermarks.get(partition)
            self._rows.move(cursor, partition, target, found.holes.get(partition, ""))
        return True

    def _adopt(self, cursor: Cursor, log: str, month: str, partitions: Iterable[int]) -> str:
        before, _, _ = self._rows.state(cursor)
        if before not in ("", log):
            cursor.execute(
                "UPDATE sluice_billing_state SET log = %s WHERE installation = %s",
                (log, self._installation),
            )
            cursor.execute(
                "DELETE FROM sluice_billing_watermarks WHERE installation = %s",
                (self._installation,),
            )
            for partition in partitions:
                self._rows.move(cursor, partition, None, month)
        return before

    def _in_transaction(self, act: Callable[[Cursor], T]) -> T:
        """Run `act` in one transaction. If StoreUnavailable is raised, the transaction may still
        have been applied."""
        with self._lock:
            try:
                with postgresql_errors():
                    connection = self._connect()
                    with connection.transaction(), connection.cursor() as cursor:
                        return act(cursor)
            except StoreUnavailable:
                self._disconnect()
                raise

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="sluice-billing",
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            password=self._password or None,
        )
        try:
            if not self._has_tables:
                make_tables(connection)
                self._has_tables = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        self._has_tables = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
