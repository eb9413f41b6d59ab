"""The witnesses of a run: mail.events, the sink's journal and the bill, read directly.

Each reads only its own source, so that two of them cannot be wrong in the same
way. A separate thread follows the events from the beginning, with read_committed.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from services.billing.core.answer import rows
from services.billing.edge.cells import RedisCells
from shared.settings.sections import RedisSettings
from shared.store.client import StoreUnavailable, connect
from shared.store.read_cells import ALL_MONTHS, Snapshot
from shared.stream.client import RECONNECT_MAX_MS
from shared.topics import names
from shared.topics.codec import decode_event
from shared.topics.event_records import Tally, TallyRow
from shared.topics.records import FINAL, Event
from tests.support.chaos.evidence import BillRow, SinkLine

_POLL_MS: Final = 200
_CLOSE_TIMEOUT_S: Final = 10.0
_TOPIC_TIMEOUT_S: Final = 30.0
# mail.refused contains submitted bytes: up to 8 MB per record.
_FETCH_MAX_BYTES: Final = 8 * 1024 * 1024


class WitnessError(RuntimeError):
    """A witness could not read its source; the text contains the witness and the reason."""


class EventWatch:
    """Follows mail.events and keeps everything seen so far, by client."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._lock = threading.Condition()
        self._events: dict[str, list[Event]] = defaultdict(list)
        self._tallies: dict[str, list[TallyRow]] = defaultdict(list)
        self._ended: dict[str, set[str]] = defaultdict(set)
        self._next_offsets: dict[int, int] = {}
        self._last_seen: dict[str, float] = {}
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def events(self, clients: frozenset[str]) -> tuple[Event, ...]:
        """Return all events of these clients so far."""
        self.raise_error()
        with self._lock:
            return tuple(event for client in clients for event in self._events[client])

    def tallies(self, clients: frozenset[str]) -> tuple[TallyRow, ...]:
        """Return all tally rows of these clients so far."""
        with self._lock:
            return tuple(row for client in clients for row in self._tallies[client])

    def ended(self, client: str) -> set[str]:
        """Return the Message-IDs of this client that have a final event."""
        self.raise_error()
        with self._lock:
            return set(self._ended[client])

    def quiet_s(self, clients: frozenset[str]) -> float:
        """Return the time since the last event of these clients."""
        with self._lock:
            last = max((self._last_seen.get(client, 0.0) for client in clients), default=0.0)
        return time.monotonic() - last

    def next_offsets(self) -> dict[int, int]:
        """Return, for each partition, the offset after the last record that was read."""
        self.raise_error()
        with self._lock:
            return dict(self._next_offsets)

    def raise_error(self) -> None:
        """Raise WitnessError if the events can no longer be followed."""
        if self._error is not None:
            raise WitnessError(f"mail.events: {self._error!r}") from self._error

    def _run(self) -> None:
        try:
            consumer = follow(self._bootstrap, names.EVENTS)
            try:
                while not self._stop.is_set():
                    self._take(consumer.poll(timeout_ms=_POLL_MS, max_records=5_000))
            finally:
                consumer.close(autocommit=False)
        except BaseException as error:
            self._error = error

    def _take(self, found: dict[TopicPartition, list[Any]]) -> None:
        for partition, records in found.items():
            for record in records:
                self._note(decode_event(record.headers, record.value))
            with self._lock:
                self._next_offsets[partition.partition] = records[-1].offset + 1

    def _note(self, told: Event | Tally | None) -> None:
        with self._lock:
            match told:
                case Event():
                    client = told.data.client
                    self._events[client].append(told)
                    self._last_seen[client] = time.monotonic()
                    if told.type in FINAL:
                        self._ended[client].add(told.data.message_id)
                case Tally():
                    for row in told.rows:
                        self._tallies[row.client].append(row)
                        self._last_seen[row.client] = time.monotonic()
                case None:
                    pass


def follow(bootstrap: str, topic: str) -> Any:
    """Return a consumer at the beginning of every partition of a topic, outside of any group."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_MAX_BYTES,
        metrics_enabled=False,
        reconnect_backoff_max_ms=RECONNECT_MAX_MS,  # by default up to 30 s after an outage
    )
    try:
        partitions = _partitions_of(consumer, topic)
    except (KafkaError, WitnessError):
        consumer.close(autocommit=False)
        raise
    assigned = [TopicPartition(topic, partition) for partition in sorted(partitions)]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    return consumer


def _partitions_of(consumer: Any, topic: str) -> set[int]:
    """Return the partitions of a topic; a busy broker may not show a new topic at once."""
    deadline = time.monotonic() + _TOPIC_TIMEOUT_S
    while not (found := consumer.partitions_for_topic(topic)):
        if time.monotonic() > deadline:
            raise WitnessError(f"there is no topic {topic}")
        time.sleep(0.1)
    return set(found)


class SinkJournal:
    """Reads the sink's journal as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._lines: list[SinkLine] = []
        self._decoder = msgspec.json.Decoder(SinkLine)

    def lines(self, rcpt_suffix: str) -> tuple[SinkLine, ...]:
        """Return all lines so far whose recipient has this suffix."""
        self._read_on()
        return tuple(line for line in self._lines if line.rcpt.lower().endswith(rcpt_suffix))

    def _read_on(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            # An incomplete line is left for the next reading.
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._lines += [self._decoder.decode(line) for line in whole.split(b"\n")]
            self._read_bytes += len(whole) + 1


class Bill:
    """Reads billing's live cells once they cover the events seen."""

    def __init__(self, redis_url: str) -> None:
        self._cells = RedisCells(connect(RedisSettings(url=redis_url)))

    def rows(
        self, clients: frozenset[str], up_to: dict[int, int], timeout_s: float
    ) -> tuple[BillRow, ...]:
        """Return the bill of these clients, once every record below `up_to` is counted.

        Raises WitnessError if billing does not reach it within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            snapshot = self._read()
            marks = snapshot.watermarks if snapshot and snapshot.whole else {}
            if snapshot and all(marks.get(part, -1) >= offset for part, offset in up_to.items()):
                return tuple(_rows(snapshot, clients))
            if time.monotonic() > deadline:
                raise WitnessError(f"billing is behind: counted {marks}, events {up_to}")
            time.sleep(0.1)

    def _read(self) -> Snapshot | None:
        try:
            return self._cells.read(ALL_MONTHS)
        except StoreUnavailable:
            return None


def _rows(snapshot: Snapshot, clients: frozenset[str]) -> Iterator[BillRow]:
    for month in snapshot.months.values():
        for row in rows(month):
            if row.billed and row.client in clients:
                yield BillRow(row.client, row.mailing_id, row.sub_client, row.billed)
