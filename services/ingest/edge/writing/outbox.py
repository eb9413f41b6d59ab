"""Passes messages from a door's event loop to Kafka, and the results back.

The front door has two outboxes, for accepted messages and for refusals; the bounce door has one.
Each has its own thread, because kafka-python blocks while it has no metadata.

Guarantees: `done` is called exactly once, on the loop. `done` gets Written only after Kafka has
acknowledged the record (acks=all) or validate has read it. `done` gets Unknown after TIMEOUT_S plus
the time that the withdrawal takes. After Unknown it is not known whether the record was written, so
the client gets 451 and sends the message again. If the process dies before the acknowledgement, the
client has not received a 250.
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
# The client must get its 451 within 5 s while Kafka is unavailable.
TIMEOUT_S: Final = 4.0
# Messages that arrive within this time share a record. A session has to wait for Kafka anyway.
LINGER_S: Final = 0.003
# Under load, messages wait at most this long for the batches that are being written. This saves
# work, because a record and a request for fifty messages cost hardly more than for one
# (docs/decisions/0024-front-door-bench.md).
GATHER_S: Final = 0.02
MAX_BATCH: Final = 512
_SWEEP_S: Final = 0.25
_CLOSE_TIMEOUT_S: Final = 10.0


class Written(Struct, frozen=True):
    """Kafka has the message, under this mail id."""

    mail_id: str = ""


class Duplicate(Struct, frozen=True):
    """The message was submitted before, under this mail id; it is sent only once."""

    mail_id: str


class KeyConflict(Struct, frozen=True):
    """Nothing was written, because the message with this mail id has the same submission key."""

    mail_id: str


class Unknown(Struct, frozen=True):
    """Kafka did not acknowledge the message."""


Outcome = Written | Duplicate | KeyConflict | Unknown
UNKNOWN: Final = Unknown()

Done = Callable[[Outcome], None]
T = TypeVar("T")


class PendingWrite(Generic[T]):
    """An item to be written, and the callback for its outcome.

    The loop may give up an item while the writer's thread begins it, so both acquire a lock. Either
    the writer does not begin the item, or the loop gets the mail id under which it may be written.
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
        """Return whether the loop no longer waits for the item."""
        return self._is_given_up

    def try_begin(self, mail_id: str) -> bool:
        """Record the mail id for writing the item. Return False if the item was given up."""
        with self._lock:
            # The id is recorded in both cases, because the key is reserved under it and can be
            # withdrawn.
            self._mail_id = mail_id or self._mail_id
            return not self._is_given_up

    def give_up(self) -> None:
        """Give up the item, so that no writer may begin it."""
        with self._lock:
            self._is_given_up = True

    @property
    def mail_id(self) -> str:
        """Return the mail id under which the item may be written, or "" if no writer began it."""
        with self._lock:
            return self._mail_id


class BatchResult(Generic[T]):
    """Items written together, and their outcomes as soon as they are known."""

    __slots__ = ("outcomes", "pending")

    def __init__(self, pending: Sequence[PendingWrite[T]], outcomes: Sequence[Outcome] = ()):
        """`outcomes` has one outcome per item, if they are already known."""
        self.pending = pending
        self.outcomes: Future[Sequence[Outcome]] = Future()
        if outcomes:
            self.outcomes.set_result(outcomes)

    def set_unknown(self) -> None:
        """Record that it is unknown whether these items were written."""
        self.outcomes.set_result(_all_unknown(self.pending))


# A function that writes a batch and returns at once. Another thread may set the outcomes later.
Write = Callable[[list[PendingWrite[T]]], Iterable[BatchResult[T]]]


def _all_unknown(pending: Sequence[PendingWrite[T]]) -> Sequence[Outcome]:
    return [UNKNOWN] * len(pending)


class Outbox(Generic[T]):
    """Takes items on the loop, lets a thread write them in batches, and reports the outcomes.

    The loop decides when a batch is due. If the thread itself waited for each item, it would have
    to be woken, and would have to acquire the interpreter lock, five times as often.
    """

    def __init__(
        self,
        name: str,
        write: Write[T],
        withdraw: Callable[[Sequence[PendingWrite[T]]], Sequence[Outcome]] = _all_unknown,
    ) -> None:
        """The outbox's thread calls `write`. Another thread calls `withdraw`, which decides the
        outcomes of items that are given up.
        """
        self._write = write
        self._withdraw = withdraw
        self._withdrawing = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-withdrawn")
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[PendingWrite[T]] | None] = queue.SimpleQueue()
        self._gathered: list[PendingWrite[T]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False  # whether the gathered messages have waited LINGER_S
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
        """Add an item to be written. Call this on the loop."""
        pending = PendingWrite(item, done, monotonic() + TIMEOUT_S)
        self._open[pending] = None
        self._gathered.append(pending)
        if len(self._gathered) == 1:
            self._timer = self._loop.call_later(LINGER_S, self._on_linger)
        elif len(self._gathered) >= MAX_BATCH:
            self._flush()

    async def close(self) -> None:
        """Wait for all items, at most until their time-out, then end the thread."""
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
                continue  # the outcome comes too late
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
        """The oldest item has waited LINGER_S: flush, or first wait for batches being written."""
        self._timer = self._loop.call_later(GATHER_S, self._flush)
        self._is_due = True
        self._flush_if_due()

    def _flush_if_due(self) -> None:
        """Flush if a batch is due, unless more than a third of all items is being written."""
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
            # An item past its deadline was answered with 451 and must not be written.
            batch = [pending for pending in batch if pending.deadline > now]
            if not batch:
                continue
            for result in self._written(batch):
                result.outcomes.add_done_callback(partial(self._report, result.pending))

    def _written(self, batch: list[PendingWrite[T]]) -> list[BatchResult[T]]:
        try:
            return list(self._write(batch))
        except Exception:
            # The thread must survive; without it, every message would get 451 from now on.
            log.exception("a batch could not be written")
            return [BatchResult(batch, _all_unknown(batch))]

    def _report(
        self, batch: Sequence[PendingWrite[T]], outcomes: Future[Sequence[Outcome]]
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, so nobody waits
            self._loop.call_soon_threadsafe(self._settled, batch, outcomes.result())
