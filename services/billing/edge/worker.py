"""The counting loop of the billing service. It reads mail.events, sums the events up, and adds the
sums to the cells.

The loop polls records, counts them (core/usage.py), and adds the counts to the cells (cells.py).
Each step processes one run of records of one partition.

A partition is always read from its watermark in the cells. So a run is counted exactly once, even
if a process dies after it has read the run and before it has added the counts.

The store may become empty, may be set back to an older state, or may lose a part of its data. The
next apply() detects this. If no events arrive, apply() is called after CHECK_S at the latest. Then
the partition is read again from the watermark in the store. An empty store is first restored from
the last checkpoint on billing.statements (edge/statements/checkpointing.py). If there is no
checkpoint, counting begins at the first record that Kafka still has.

While the store is unavailable, all partitions are paused, polling and retries continue, and no
records are in memory. While Kafka is unavailable, the worker tries again and again. If Kafka has
deleted records before they were counted, a hole is marked in the cells. If mail.events was deleted
and created again, it is not the log that was counted in the cells. In this case, nothing is counted
and nothing is dropped until an operator runs `billing adopt-log` or `billing rebuild`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from kafka.errors import KafkaError
from msgspec import Struct

from services.billing.core.answer import other_log
from services.billing.core.month import Months
from services.billing.core.usage import count
from services.billing.edge.cells import NO_WATERMARK, Cells
from services.billing.edge.feed import EventFeed, EventRun
from services.billing.edge.log_ends import KafkaUnavailable
from services.billing.edge.metrics import BillingMetrics
from services.billing.edge.temporary_files import DiskUnavailable
from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.store.apply_cells import Applied, OtherLog, Run, Stale
from shared.store.client import StoreUnavailable
from shared.stream.client import ClientOptions
from shared.stream.loop import LoopStatus, SessionLoop
from shared.topics.names import EVENTS

log = logging.getLogger(__name__)

POLL_MS: Final = 200
RETRY_S: Final = 0.5
# If no events arrive, the loss of the store's data is detected after this time.
CHECK_S: Final = 1.0
LAG_S: Final = 2.0


class WorkerParts(Struct, frozen=True):
    """The collaborators and settings of a worker."""

    options: ClientOptions
    group: str
    poll_records: int
    cells: Cells
    months: Months
    clock: Clock
    failpoints: Failpoints
    metrics: BillingMetrics
    topic: str = EVENTS
    # Restores lost cells from a checkpoint. Returns True if cells were restored. May raise
    # KafkaUnavailable or DiskUnavailable.
    restore: Callable[[], bool] = lambda: False


class Worker:
    """Counts events while run() runs. `kafka` is the reason why the worker waits for Kafka, or "".
    `store` is the reason why it waits for the store, or "". `log` is the reason why it waits for an
    operator, or ""."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._log_id = ""
        self._watermarks: dict[int, int] = {}
        self._holes: set[int] = set()  # these partitions have a hole that the next run marks
        self._checked_at: dict[int, float] = {}
        self._lag_at = 0.0
        self._retry_at = 0.0
        self.status = LoopStatus("Kafka: not connected yet")
        self.store = "not asked yet"
        self.log = ""

    def run(self, stop: Stop) -> None:
        """Count events until `stop` is set. Then finish the current run and leave the group.

        Raises FencedInstanceIdError if another process uses this instance name.
        """
        loop = SessionLoop("billing", self._open, self._turn, self.status)
        try:
            while not stop.is_set():
                if not loop.step():
                    stop.wait(RETRY_S)
        finally:
            loop.close()

    @property
    def kafka(self) -> str:
        """Return the reason why nothing is read from Kafka. Return "" while records are read."""
        return self.status.waiting_for

    def _open(self) -> EventFeed:
        parts = self._parts
        feed = EventFeed(parts.options, parts.group, parts.poll_records, parts.topic)
        self.status.waiting_for = ""
        return feed

    def _turn(self, feed: EventFeed) -> None:
        parts = self._parts
        runs = feed.poll(POLL_MS)
        if feed.placed() and feed.log_id() not in ("", self._log_id):
            log.error("mail.events was created again, with the topic id %s", feed.log_id())
            # The next EventFeed reads the new log.
            raise KafkaError(f"{parts.topic} was created again")
        if runs:
            parts.failpoints.hit("billing.polled")
        try:
            for run in runs:
                self._add(feed, run)
            if parts.clock.monotonic() >= self._retry_at:
                is_asked = self._place(feed)
                self._check(feed)
                if is_asked:  # the store has answered in _place()
                    self.store = ""
        except (StoreUnavailable, KafkaUnavailable, DiskUnavailable) as error:
            if not self.store:
                log.warning("counting waits: %s", error)
            self.store = str(error)
            self._retry_at = parts.clock.monotonic() + RETRY_S
            feed.unassign(feed.placed())
        self._note_lag(feed)

    def _add(self, feed: EventFeed, run: EventRun) -> None:
        parts = self._parts
        counted = count(run.records, parts.months)
        parts.failpoints.hit("billing.counted")
        self._apply(feed, run, counted.increments())
        parts.failpoints.hit("billing.applied")
        parts.metrics.records.add(len(run.records))
        parts.metrics.unknown.add(counted.unknown)
        if unreadable := counted.unreadable + run.undecodable:
            parts.metrics.unreadable.add(unreadable)
            log.error(
                "%d events could not be read and are not counted",
                unreadable,
                extra={"partition": run.partition, "below_offset": run.target},
            )

    def _apply(
        self, feed: EventFeed, run: EventRun, increments: tuple[tuple[str, str, int], ...]
    ) -> None:
        parts, partition = self._parts, run.partition
        answer = parts.cells.apply(
            Run(
                log=self._log_id,
                partition=partition,
                expected=self._watermarks[partition],
                target=run.target,
                increments=increments,
                hole=self._hole_month(run) if partition in self._holes else "",
            )
        )
        self._checked_at[partition] = parts.clock.monotonic()
        match answer:
            case Applied():
                self._watermarks[partition] = run.target
                self._holes.discard(partition)
            case Stale(watermark, dropped):
                parts.metrics.rewinds.add()
                log.warning(
                    "the cells have another offset than expected: counting continues from there",
                    extra={
                        "partition": partition,
                        "expected": self._watermarks[partition],
                        "found": watermark,
                        "dropped": dropped,
                    },
                )
                feed.unassign([partition])
            case OtherLog(counted):
                self._refuse_log(counted)
                feed.unassign(feed.placed())

    def _refuse_log(self, counted: str) -> None:
        """Stop counting. The old log does not exist any more, and the cells may be the only record
        of its events. So an operator must decide whether to keep the cells."""
        self._retry_at = self._parts.clock.monotonic() + RETRY_S
        reason = other_log(counted, self._log_id)
        if self.log != reason:
            log.error("counting stops: %s", reason)
        self.log = reason

    def _hole_month(self, run: EventRun) -> str:
        """Return the last month of which records may be missing: the month of the first record that
        Kafka still has."""
        months = self._parts.months
        try:
            return months.of(run.records[0].timestamp)
        except (IndexError, ValueError):
            return months.of(self._parts.clock.now_ms())

    def _place(self, feed: EventFeed) -> bool:
        """Seek each waiting partition to its watermark. Return True if the store was queried and
        has answered.

        Raises StoreUnavailable, KafkaError.
        """
        waiting = feed.unplaced()
        log_id = feed.log_id()
        if not waiting or not log_id:
            if self.store and log_id:
                self._parts.cells.read()
            return bool(log_id)
        self._log_id = log_id
        found = self._parts.cells.read()
        if found.whole and not found.log and not found.dropped and self._parts.restore():
            found = self._parts.cells.read()
        if found.log not in ("", log_id):
            self._refuse_log(found.log)
            return True
        self.log = ""
        # If a part of the cells is lost, the first call of apply() drops all cells.
        usable = found.whole
        begins = feed.begins(waiting)
        for partition in sorted(waiting):
            watermark = found.watermarks.get(partition, NO_WATERMARK) if usable else NO_WATERMARK
            offset = max(watermark, begins[partition])
            if offset > max(watermark, 0):
                self._holes.add(partition)
                log.error(
                    "records were deleted from Kafka before they were counted",
                    extra={"partition": partition, "from": max(watermark, 0), "to": offset},
                )
            self._watermarks[partition] = watermark
            self._checked_at[partition] = 0.0
            feed.place(partition, offset)
            log.info("counting begins", extra={"partition": partition, "offset": offset})
        return True

    def _check(self, feed: EventFeed) -> None:
        """Apply an empty run to each partition to which no run was applied for CHECK_S.

        With these empty runs, the worker detects a store that has lost its data or accepts no
        writes, even if no events arrive.
        """
        now = self._parts.clock.monotonic()
        for partition, offset in feed.placed().items():
            if now - self._checked_at.get(partition, 0.0) >= CHECK_S:
                self._apply(feed, EventRun(partition, (), offset), ())

    def _note_lag(self, feed: EventFeed) -> None:
        now = self._parts.clock.monotonic()
        if now - self._lag_at < LAG_S:
            return
        self._lag_at = now
        placed = feed.placed()
        try:
            ends = feed.ends()
        except KafkaError as error:
            self.status.waiting_for = f"Kafka: {error}"
            return
        missing = f"Kafka: there is no topic {self._parts.topic} yet"
        self.status.waiting_for = "" if feed.log_id() else missing
        for partition, end in ends.items():
            self._parts.metrics.lag.set(max(0, end - placed[partition]), str(partition))
