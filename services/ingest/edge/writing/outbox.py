"""Passes messages from the event loop of a door to Kafka, and passes the outcomes back.

The front door has one outbox for accepted messages and one for refusals. The bounce door has one
outbox. Each outbox has its own thread, because kafka-python blocks while it has no metadata.

`done` is called exactly once per item, on the event loop. `done` gets Written only after Kafka has
acknowledged the record (acks=all) or the validate service has read it. Otherwise `done` gets
Unknown within TIMEOUT_S plus the time of the withdrawal. Then it is unknown if the record is
written, so the client gets 451 and sends the message again. If the process dies before the
acknowledgement, the client has not received a 250.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, Generic, TypeVar

from msgspec import Struct

from shared.runtime.clock import monotonic

log = logging.getLogger(__name__)

SERVICE: Final = "ingest"
# While Kafka is unavailable, the client must get its 451 within 5 s.
TIMEOUT_S: Final = 4.0
# Messages that arrive within this time share a record. A session has to wait for Kafka anyway.
LINGER_S: Final = 0.003
# Under load, messages wait for the batches that are being written, but not longer than this time.
# The wait saves work, because a record with fifty messages costs hardly more than a record with one
# message (docs/decisions/0024-front-door-bench.md).
GATHER_S: Final = 0.02
MAX_BATCH: Final = 512
_SWEEP_S: Final = 0.25
_CLOSE_TIMEOUT_S: Final = 10.0


class Written(Struct, frozen=True):
    """Kafka has stored the message under this mail id."""

    mail_id: str = ""


class Duplicate(Struct, frozen=True):
    """The message was submitted before and has this mail id. It is sent only once."""

    mail_id: str


class KeyConflict(Struct, frozen=True):
    """The item was not written, because the message `mail_id` has the same submission key."""

    mail_id: str


class Unknown(Struct, frozen=True):
    """Kafka has not acknowledged the message."""


Outcome = Written | Duplicate | KeyConflict | Unknown
UNKNOWN: Final = Unknown()

Done = Callable[[Outcome], None]
T = TypeVar("T")


class PendingWrite(Generic[T]):
    """An item to be written, and the callback for its outcome.

    The loop may give up an item while the writer's thread begins it, so both acquire a lock. Either
    the writer does not begin the item, or the loop gets the mail id for writing the item.
    """

    __slots__ = ("_is_given_up", "_lock", "_mail_id", "deadline", "done", "item")

    def __init__(self, item: T, done: Done, deadline: float) -> None:
        """`deadline` is the time in seconds of monotonic() at which the item is given up."""
        self.item = item
        self.done: Done | None = done
        self.deadline = deadline
        self._lock = threading.Lock()
        self._is_given_up = False
        self._mail_id = ""

    @property
    def is_given_up(self) -> bool:
        """Return True if the event loop does not wait for the item any more."""
        return self._is_given_up

    def try_begin(self, mail_id: str) -> bool:
        """Store the mail id for writing the item. Return False if the item was given up."""
        with self._lock:
            # Always record the mail id, because the withdrawal of the item needs the mail id.
            self._mail_id = mail_id or self._mail_id
            return not self._is_given_up

    def give_up(self) -> None:
        """Give up the item. After this call, no writer can begin the item."""
        with self._lock:
            self._is_given_up = True

    @property
    def mail_id(self) -> str:
        """Return the mail id from try_begin(). It is "" if try_begin() was not called."""
        with self._lock:
            return self._mail_id


class BatchResult(Generic[T]):
    """Items that are written together, and their outcomes as soon as these are known."""

    __slots__ = ("outcomes", "pending")

    def __init__(self, pending: Sequence[PendingWrite[T]], outcomes: Sequence[Outcome] = ()):
        """`outcomes` has one outcome per item, or is empty if the outcomes are not known yet."""
        self.pending = pending
        self.outcomes: Future[Sequence[Outcome]] = Future()
        if outcomes:
            self.outcomes.set_result(outcomes)

    def set_unknown(self) -> None:
        """Set the outcomes of all these items to Unknown."""
        self.outcomes.set_result(_all_unknown(self.pending))


# A function that writes a batch and returns at once. Another thread may set the outcomes later.
Write = Callable[[list[PendingWrite[T]]], Iterable[BatchResult[T]]]


def _all_unknown(pending: Sequence[PendingWrite[T]]) -> Sequence[Outcome]:
    return [UNKNOWN] * len(pending)


class Outbox(Generic[T]):
    """Accepts items on the event loop, writes them in batches in a thread, and reports outcomes.

    The event loop decides when a batch is written. If the thread itself waited for each item, it
    would wake up and acquire the interpreter lock five times as often.
    """

    def __init__(
        self,
        name: str,
        write: Write[T],
        withdraw: Callable[[Sequence[PendingWrite[T]]], Sequence[Outcome]] = _all_unknown,
    ) -> None:
        """The outbox's thread calls `write`. Another thread calls `withdraw`, which returns the
        outcomes of items that were given up."""
        self._write = write
        self._withdraw = withdraw
        self._withdrawing = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-withdrawn")
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[PendingWrite[T]] | None] = queue.SimpleQueue()
        self._gathered: list[PendingWrite[T]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False  # True if the gathered messages have waited LINGER_S
        self._open: dict[PendingWrite[T], None] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._sweeper = self._loop.create_task(self._sweep())

    @property
    def waiting(self) -> int:
        """Return the number of items that wait for Kafka."""
        return len(self._open)

    def put(self, item: T, done: Done) -> None:
        """Add an item to be written. Must be called on the event loop."""
        pending = PendingWrite(item, done, monotonic() + TIMEOUT_S)
        self._open[pending] = None
        self._gathered.append(pending)
        if len(self._gathered) == 1:
            self._timer = self._loop.call_later(LINGER_S, self._on_linger)
        elif len(self._gathered) >= MAX_BATCH:
            self._flush()

    async def close(self) -> None:
        """Wait until each item has an outcome or has timed out, and then end the thread."""
        self._flush()
        if self._open:
            self._emptied = self._loop.create_future()
            await self._emptied
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, _CLOSE_TIMEOUT_S)
        self._sweeper.cancel()
        self._withdrawing.shutdown(wait=False)

    # -- on the loop

    def _settled(self, batch: Sequence[PendingWrite[T]], outcomes: Sequence[Outcome]) -> None:
        given_up: list[PendingWrite[T]] = []
        for pending, outcome in zip(batch, outcomes, strict=True):
            if pending.is_given_up:
                continue  # the outcome has arrived too late
            if type(outcome) is Unknown:
                pending.give_up()
                given_up.append(pending)
            else:
                self._finish(pending, outcome)
        self._flush_if_due()
        if given_up:
            task = self._loop.create_task(self._take_back(given_up))
            self._withdrawals.add(task)
            task.add_done_callback(self._withdrawals.discard)

    async def _take_back(self, given_up: Sequence[PendingWrite[T]]) -> None:
        try:
            outcomes = await self._loop.run_in_executor(self._withdrawing, self._withdraw, given_up)
        except Exception:
            log.exception("messages that were answered with 451 could not be withdrawn")
            outcomes = _all_unknown(given_up)
        for pending, outcome in zip(given_up, outcomes, strict=True):
            self._finish(pending, outcome)

    def _finish(self, pending: PendingWrite[T], outcome: Outcome) -> None:
        self._open.pop(pending, None)
        done, pending.done = pending.done, None
        if done is not None:
            done(outcome)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now, late = monotonic(), []
            for pending in self._open:
                if pending.deadline > now:
                    break
                if not pending.is_given_up:
                    late.append(pending)
            if late:
                log.warning("Kafka did not acknowledge in time", extra={"messages": len(late)})
                self._settled(late, _all_unknown(late))

    def _on_linger(self) -> None:
        """Flush now, or wait up to GATHER_S longer if many items are being written."""
        self._timer = self._loop.call_later(GATHER_S, self._flush)
        self._is_due = True
        self._flush_if_due()

    def _flush_if_due(self) -> None:
        """Flush if a batch is due, unless more than a third of the items is being written."""
        if self._is_due and 2 * len(self._open) <= 3 * len(self._gathered):
            self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._is_due = None, False
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    # -- in the thread

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            # Add the items that were flushed while the last batch was written.
            while len(batch) < MAX_BATCH:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    break
                batch += more
            now = monotonic()
            # An item whose deadline has passed was answered with 451 and must not be written.
            batch = [pending for pending in batch if pending.deadline > now]
            if not batch:
                continue
            for result in self._written(batch):
                result.outcomes.add_done_callback(partial(self._report, result.pending))

    def _written(self, batch: list[PendingWrite[T]]) -> list[BatchResult[T]]:
        try:
            return list(self._write(batch))
        except Exception:
            # The thread must not end, because then every further message would get 451.
            log.exception("a batch could not be written")
            return [BatchResult(batch, _all_unknown(batch))]

    def _report(
        self, batch: Sequence[PendingWrite[T]], outcomes: Future[Sequence[Outcome]]
    ) -> None:
        # RuntimeError means that the loop has ended, so nobody waits for the outcomes.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settled, batch, outcomes.result())
