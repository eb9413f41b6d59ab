"""Keeps the view of suppressed recipients in Redis up to date, and looks up recipients in the view.

Every process of the validate service reads mail.suppressions in a thread. The view's watermark
ensures that only one process applies a record. The other processes find that the watermark has
moved, and continue from the new watermark. The next call of apply() detects that the view is
missing (FLUSHALL, a new Redis) or too old (a failover). The topic is then read again from the
watermark of this view. Each process calls apply() at least every LOOK_S, even without records.

Owns: the reader, and the proof that the view is recent (confirmed()). Guarantees: a look-up uses
the view only if the view has every record that was on mail.suppressions FRESH_S before the look-up.
Otherwise NotReady is raised, and nothing is consumed. Does not own: the view
(shared/store/suppressions.py). Unreadable records are logged and counted in `unreadable`; the rest
of the topic is applied.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final, Protocol

from kafka.errors import KafkaError
from msgspec import Struct

from shared.runtime.clock import Clock
from shared.runtime.telemetry import Metric
from shared.runtime.threads import EnduringThread, RunsThread
from shared.store.client import StoreUnavailable
from shared.store.suppressions import (
    SuppressionStore,
    ViewApplied,
    ViewOfOtherLog,
    ViewStale,
    encode_entry,
)
from shared.stream.client import ClientOptions
from shared.stream.kafka_python.fetching import UndecodableRecord
from shared.stream.log_reader import LogReader
from shared.stream.relay import NotReady
from shared.topics.codec import CodecError
from shared.topics.names import SUPPRESSIONS
from shared.topics.suppressions import FIELD_BYTES, PARTITION, Suppression, decode_suppression

log = logging.getLogger(__name__)

POLL_MS: Final = 100
# While nothing is written, the end of the topic and the view are checked at this interval.
LOOK_S: Final = 0.5
UNREADABLE: Final = Metric(
    "sluice_suppressions_unreadable",
    "Records of mail.suppressions that could not be read since the start and are not applied.",
)
# The highest number of entries that one script applies. A script blocks Redis for about 1 µs per
# entry.
MAX_ENTRIES: Final = 5_000

# If a message is judged at least this long after an entry was committed, the entry applies to the
# message.
FRESH_S: Final = 5.0
# A script blocks Redis for about 1 µs per field.
MAX_FIELDS: Final = 4_000


class Confirmed(Struct, frozen=True):
    """Proves that, at the monotonic time `at`, `end` was the end of the topic with the id `log`,
    and the view had all records before `end`."""

    log: str
    end: int
    at: float


class OtherLogFound(Exception):
    """The view belongs to an earlier topic of this name, so an operator must decide what to do."""


class SuppressionFollower(RunsThread):
    """Keeps the view up to date. confirmed() and fault() may be called from any thread."""

    def __init__(
        self,
        options: ClientOptions,
        store: SuppressionStore,
        clock: Clock,
        topic: str = SUPPRESSIONS,
    ) -> None:
        self.store = store
        self.unreadable = 0
        self._options = options
        self._clock = clock
        self._topic = topic
        self._confirmed: Confirmed | None = None
        self._fault = f"{topic} has not been read yet"
        self._thread = EnduringThread(
            "suppressions",
            self._read,
            expected=(KafkaError, StoreUnavailable, OtherLogFound),
            failed=self._failed,
        )

    def confirmed(self) -> Confirmed | None:
        """Return the last proof that the view was complete; None if there is no proof."""
        return self._confirmed

    def fault(self) -> str:
        """Return, for /ready, the reason why the view is not complete; "" if it is complete."""
        return self._fault

    def _read(self) -> None:
        reader = LogReader(self._options, self._topic, max_poll_records=MAX_ENTRIES)
        with closing(reader):
            self._follow(reader)

    def _failed(self, reason: str) -> None:
        fault = f"suppressed recipients: {reason}"
        if fault != self._fault:
            log.warning("suppressed recipients cannot be read", extra={"reason": fault})
        self._fault = fault

    def _follow(self, reader: LogReader) -> None:
        """Read until close(). Raises KafkaError, StoreUnavailable, OtherLogFound."""
        if PARTITION not in reader.partitions():
            raise KafkaError(f"there is no topic {self._topic}")
        log_id = reader.topic_id()
        watermark = self._begin(reader, log_id)
        end, asked_at = -1, float("-inf")
        while not self._thread.is_closing:
            now = self._clock.monotonic()
            is_look = now - asked_at >= LOOK_S
            if is_look:
                end, asked_at = reader.ends([PARTITION])[PARTITION], now
            records = reader.poll(POLL_MS).get(PARTITION, ())
            if reader.topic_id() != log_id:
                raise KafkaError(f"{self._topic} was created again")
            if not (records or is_look):
                continue
            found = self._apply(log_id, watermark, reader.position(PARTITION), records)
            if found is None:
                watermark = self._begin(reader, log_id)
                continue
            watermark = found
            if watermark >= end:
                self._confirmed = Confirmed(log_id, end, asked_at)
                self._fault = ""
            elif records:
                self._fault = f"{end - watermark} records of {self._topic} are still to be read"

    def _begin(self, reader: LogReader, log_id: str) -> int:
        """Continue reading at the watermark of the view; return the watermark."""
        found = self.store.state()
        if found.log not in ("", log_id):
            raise OtherLogFound(other_log(self._topic, found.log, log_id))
        reader.read_from({PARTITION: max(found.watermark, 0)})
        return found.watermark

    def _apply(
        self, log_id: str, watermark: int, target: int, records: Sequence[Any]
    ) -> int | None:
        """Apply these records; return the new watermark, or None if the view does not have the
        expected watermark."""
        entries = self._entries(records)
        # Only the last part moves the watermark, so all parts are applied again if the process dies
        # before the last part is applied.
        for start in range(0, max(len(entries), 1), MAX_ENTRIES):
            is_last = start + MAX_ENTRIES >= len(entries)
            moved = max(target, watermark, 0) if is_last else watermark
            part = entries[start : start + MAX_ENTRIES]
            match self.store.apply(log_id, watermark, moved, part):
                case ViewStale():
                    return None
                case ViewOfOtherLog(other):
                    raise OtherLogFound(other_log(self._topic, other, log_id))
                case ViewApplied():
                    pass
        return max(target, watermark, 0)

    def _entries(self, records: Sequence[Any]) -> list[bytes]:
        entries = []
        for record in records:
            if isinstance(record, UndecodableRecord):
                self.unreadable += 1  # the fetcher has logged the error
                continue
            if record.value is None:
                continue
            try:
                found = decode_suppression(record.value)
                if isinstance(found, Suppression):
                    entries.append(encode_entry(found))
            except (CodecError, ValueError) as error:  # ValueError: the hash is not hexadecimal
                self.unreadable += 1
                fields = {"offset": record.offset, "reason": str(error)}
                log.error("the record of a suppression cannot be read", extra=fields)
        return entries


class Follower(Protocol):
    """Keeps the view up to date; in production this is SuppressionFollower."""

    @property
    def store(self) -> SuppressionStore:
        """The view."""
        ...

    def confirmed(self) -> Confirmed | None:
        """Return the last proof that the view was complete; None if there is no proof."""
        ...

    def fault(self) -> str:
        """Return the reason why the view is not complete."""
        ...


class SuppressionView:
    """The look-up of recipients in the view, for one worker."""

    def __init__(self, follower: Follower, clock: Clock) -> None:
        self._follower = follower
        self._clock = clock

    def find(self, fields: bytes) -> bytes:
        """Return, for each field, the bits of the reasons. Raises NotReady."""
        proof = self._follower.confirmed()
        if proof is None or self._clock.monotonic() - proof.at > FRESH_S:
            raise NotReady(self._follower.fault() or "the suppressed recipients are being read")
        answers = []
        step = MAX_FIELDS * FIELD_BYTES
        for start in range(0, len(fields), step):
            try:
                found = self._follower.store.find(
                    proof.log, proof.end, fields[start : start + step]
                )
            except StoreUnavailable as error:
                raise NotReady(f"suppressed recipients: {error}") from error
            if found is None:
                raise NotReady("the suppressed recipients are being restored")
            answers.append(found)
        return b"".join(answers)


def other_log(topic: str, known: str, found: str) -> str:
    return (
        f"{topic} was created again (id {found}, the view is of {known}): its entries may be lost."
        " Import them again, then run `sluice suppressions rebuild`"
    )
