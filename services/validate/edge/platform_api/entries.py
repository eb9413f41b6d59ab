"""Keeps all entries of mail.suppressions sorted, so that they can be read in pages.

A thread reads the topic and keeps the last record of each key in a temporary SQLite database. The
database is on disk, except for a small cache, and the system removes the database when the process
ends. Owns: the database, and the check that the database is recent. Does not own: the view in Redis
that the validate service uses to suppress messages. The view in Redis is not sorted.

Guarantees: the table has all records of the topic before the offset `end`. While Kafka is
unavailable, the table does not change, and is_fresh() is False. After a reconnect, reading
continues where it ended. If the topic was created again, its records are read into a new database.
Unreadable records are skipped; the validate service counts them.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Final

from kafka.errors import KafkaError

from services.validate.core.platform_api.requests import Place
from shared.runtime.clock import Clock
from shared.runtime.threads import EnduringThread
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.topics.codec import CodecError
from shared.topics.names import SUPPRESSIONS
from shared.topics.suppressions import PARTITION, Suppression, decode_suppression

log = logging.getLogger(__name__)

FRESH_S: Final = 3.0
# The server's event loop waits at most this long for the table.
QUICK_S: Final = 0.005
POLL_MS: Final = 100
MAX_RECORDS: Final = 2_000
_SCHEMA: Final = """
CREATE TABLE entry (
    client TEXT, recipient TEXT, reason TEXT, form TEXT, active INTEGER, value BLOB,
    PRIMARY KEY (client, recipient, reason, form)
) WITHOUT ROWID;
CREATE INDEX by_reason ON entry (client, reason, recipient, form) WHERE active;
"""
_ONE: Final = (
    "SELECT 1 FROM entry WHERE client = ? AND recipient = ? AND reason = ? AND form = ? AND active"
)
_PUT: Final = "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?)"
_AFTER: Final = "(recipient, reason, form) > (?, ?, ?) ORDER BY recipient, reason, form LIMIT ?"


class EntryTable:
    """The entries in SQLite. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = _new_database()

    def put(self, records: Iterable[tuple[Suppression, bytes]]) -> None:
        """Apply records, in the order of the topic."""
        rows = [(*_key_of(each), each.active, value) for each, value in records]
        with self._lock, self._database:
            self._database.executemany(_PUT, rows)

    def page(self, client: str, reason: str, after: Place, limit: int) -> list[Suppression]:
        """Return active entries of a client with this reason, in order. If `reason` is "", return
        active entries with any reason."""
        question = "SELECT value FROM entry WHERE client = ? AND active AND "
        values: list[Any] = [client]
        if reason:
            question += "reason = ? AND "
            values.append(reason)
        return self._read(question + _AFTER, [*values, *after, limit])

    def of_recipient(self, client: str, names: Iterable[str]) -> list[Suppression]:
        """Return all entries of a client for these names, including removed entries."""
        named = list(names)
        marks = ", ".join("?" * len(named))
        question = f"SELECT value FROM entry WHERE client = ? AND recipient IN ({marks})"  # noqa: S608
        return self._read(question, [client, *named])

    def is_listed(self, entry: Suppression) -> bool:
        """Return whether this entry exists and is active. Also return False if the table is
        busy."""
        if not self._lock.acquire(timeout=QUICK_S):
            return False
        try:
            found = self._database.execute(_ONE, _key_of(entry)).fetchone()
        finally:
            self._lock.release()
        return found is not None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._database.close()
            self._database = _new_database()

    def close(self) -> None:
        """Close the database; closing removes the file."""
        with self._lock:
            self._database.close()

    def _read(self, question: str, values: Sequence[Any]) -> list[Suppression]:
        with self._lock:
            rows = self._database.execute(question, values).fetchall()
        found = [decode_suppression(value) for (value,) in rows]
        return [each for each in found if isinstance(each, Suppression)]


class EntryFollower:
    """Keeps the table up to date, from start() until close()."""

    def __init__(
        self, options: ClientOptions, table: EntryTable, clock: Clock, topic: str = SUPPRESSIONS
    ) -> None:
        self.table = table
        self.end = 0  # the offset after the last record in the table
        self._options = options
        self._clock = clock
        self._topic = topic
        self._log_id = ""
        self._is_whole = False
        self._fresh_at = float("-inf")
        self._fault = f"{topic} has not been read yet"
        self._thread = EnduringThread(
            "entries", self._read, expected=(KafkaError, sqlite3.Error), failed=self._failed
        )

    def start(self) -> None:
        """Begin to read; return at once."""
        self._thread.start()

    def fault(self) -> str:
        """Return, for /ready, the reason why lists cannot be served; "" if they can be served."""
        return "" if self._is_whole else self._fault

    def is_fresh(self) -> bool:
        """Return True if the table had all records of the topic within the last FRESH_S."""
        return self._clock.monotonic() - self._fresh_at < FRESH_S

    def close(self) -> None:
        """Stop reading and remove the database."""
        self._thread.close()
        self.table.close()

    def _failed(self, reason: str) -> None:
        if reason != self._fault:
            log.warning("suppressions cannot be read", extra={"reason": reason})
        self._fault = reason

    def _read(self) -> None:
        with closing(LogReader(self._options, self._topic, max_poll_records=MAX_RECORDS)) as reader:
            if PARTITION not in reader.partitions():
                raise KafkaError(f"Kafka has no topic {self._topic}")
            self._begin(reader)
            while not self._thread.is_closing:
                asked_at, ends = self._clock.monotonic(), reader.ends([PARTITION])
                self._apply(reader.poll(POLL_MS).get(PARTITION, ()))
                if reader.topic_id() != self._log_id:
                    raise KafkaError(f"{self._topic} was created again")
                self.end = max(self.end, reader.position(PARTITION))
                if self.end >= ends[PARTITION]:
                    self._is_whole, self._fresh_at = True, asked_at

    def _begin(self, reader: LogReader) -> None:
        """Continue where reading ended, or at the beginning if the topic was created again."""
        if reader.topic_id() != self._log_id:
            self._is_whole, self.end = False, 0
            self.table.clear()
            self._log_id = reader.topic_id()
        reader.read_from({PARTITION: self.end})

    def _apply(self, records: Sequence[Any]) -> None:
        found = []
        for record in records:
            if isinstance(record, UndecodableRecord) or record.value is None:
                continue
            try:
                entry = decode_suppression(record.value)
            except CodecError:
                continue
            if isinstance(entry, Suppression):
                found.append((entry, record.value))
        if found:
            self.table.put(found)


def _key_of(entry: Suppression) -> tuple[str, str, str, str]:
    return entry.client, entry.recipient, entry.reason.value, entry.form.value


def _new_database() -> sqlite3.Connection:
    # The name "" means a temporary database. A small database is in memory. A larger database is in
    # a file that is removed when the database is closed or the process dies.
    database = sqlite3.connect("", check_same_thread=False)
    database.executescript(_SCHEMA)
    return database
