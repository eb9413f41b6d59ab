"""From the front door's loop to Kafka and back: what was handed over, and whether it is there.

Two outboxes: accepted messages (message_writer.py) and refusals (refusal_writer.py). Each has a
thread of its own, because kafka-python blocks while it has no metadata.

Promises: `done` is called exactly once on the loop: with Written only after Kafka has
acknowledged the record (acks=all) or validate has read it, with Unknown after TIMEOUT_S and what
it takes to withdraw it. After Unknown nobody knows whether the record was written: the client is
told 451 and hands it in again. When the process dies before the acknowledgement the client has
had no 250.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from msgspec import Struct

log = logging.getLogger(__name__)

SERVICE: Final = "ingest"
# The client must hear 451 within 5 s while Kafka is unavailable.
TIMEOUT_S: Final = 4.0
# Messages that come within this time share a record; a session waits for Kafka anyway.
LINGER_S: Final = 0.003
# Under load they wait for what is on its way, at most so long: a record and a request for fifty
# messages cost hardly more than for one (docs/decisions/0024-front-door-bench.md).
GATHER_S: Final = 0.02
MAX_BATCH: Final = 512
_SWEEP_S: Final = 0.25
_CLOSE_TIMEOUT_S: Final = 10.0


class Written(Struct, frozen=True):
    """Kafka has it, under this mail id."""

    mail_id: str = ""


class Repeated(Struct, frozen=True):
    """It came before, under this mail id, and goes on only once; that is told as an event."""

    mail_id: str


class Reused(Struct, frozen=True):
    """Nothing was written: another message had the same key before, under this mail id."""

    mail_id: str


class Unknown(Struct, frozen=True):
    """Kafka did not acknowledge it."""


Outcome = Written | Repeated | Reused | Unknown
UNKNOWN: Final = Unknown()

Done = Callable[[Outcome], None]
T = TypeVar("T")


class Handed(Generic[T]):
    """One thing to be written, and who waits for it."""

    __slots__ = ("deadline", "done", "is_given_up", "item", "mail_id")

    def __init__(self, item: T, done: Done, deadline: float) -> None:
        self.item = item
        self.done: Done | None = done
        self.deadline = deadline
        # Set by the loop, then it reads `mail_id`; and the writer sets `mail_id`, the one that it
        # writes it under, then reads this: so one of the two knows of the other, and nothing is
        # written that was given up and not withdrawn.
        self.is_given_up = False
        self.mail_id = ""


def _let_go(given_up: Sequence[Handed[T]]) -> Sequence[Outcome]:
    return [UNKNOWN] * len(given_up)


class Outbox(Generic[T]):
    """Takes things on the loop, has a thread write them in batches, tells how it went.

    The loop decides when a batch is due: a thread that waits for each of them by itself has to
    be woken, and to be given the interpreter, five times as often.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[Handed[T]], Outbox[T]], None],
        withdraw: Callable[[Sequence[Handed[T]]], Sequence[Outcome]] = _let_go,
    ) -> None:
        """`write` is called in a thread of the outbox; `withdraw`, in another, for what is given
        up, says how it goes out.
        """
        self._write = write
        self._withdraw = withdraw
        self._withdrawing = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-withdrawn")
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[Handed[T]] | None] = queue.SimpleQueue()
        self._gathered: list[Handed[T]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_ready = False  # what is gathered has waited LINGER_S
        self._open: dict[Handed[T], None] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._sweeper = self._loop.create_task(self._sweep())

    @property
    def waiting(self) -> int:
        """How many wait for Kafka."""
        return len(self._open)

    def put(self, item: T, done: Done) -> None:
        """Have it written; call on the loop."""
        handed = Handed(item, done, time.monotonic() + TIMEOUT_S)
        self._open[handed] = None
        self._gathered.append(handed)
        if len(self._gathered) == 1:
            self._timer = self._loop.call_later(LINGER_S, self._lingered)
        elif len(self._gathered) >= MAX_BATCH:
            self._hand_over()

    def settle(self, batch: Sequence[Handed[T]], outcomes: Sequence[Outcome]) -> None:
        """Tell how each of a batch went. Thread-safe."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._settled, batch, outcomes)

    def give_up(self, batch: Sequence[Handed[T]]) -> None:
        """Tell that nobody knows how these went. Thread-safe."""
        self.settle(batch, [UNKNOWN] * len(batch))

    async def close(self) -> None:
        """Wait for what was handed over, at most its time-out, then end the thread."""
        self._hand_over()
        if self._open:
            self._emptied = self._loop.create_future()
            await self._emptied
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, _CLOSE_TIMEOUT_S)
        self._sweeper.cancel()
        self._withdrawing.shutdown(wait=False)

    def _settled(self, batch: Sequence[Handed[T]], outcomes: Sequence[Outcome]) -> None:
        given_up: list[Handed[T]] = []
        for handed, outcome in zip(batch, outcomes, strict=True):
            if handed.is_given_up:
                continue  # what is heard of it now comes too late
            if type(outcome) is Unknown:
                handed.is_given_up = True
                given_up.append(handed)
            else:
                self._tell(handed, outcome)
        self._consider()
        if given_up:
            task = self._loop.create_task(self._take_back(given_up))
            self._withdrawals.add(task)
            task.add_done_callback(self._withdrawals.discard)

    async def _take_back(self, given_up: Sequence[Handed[T]]) -> None:
        try:
            outcomes = await self._loop.run_in_executor(self._withdrawing, self._withdraw, given_up)
        except Exception:
            log.exception("messages that are answered with 451 were not withdrawn")
            outcomes = _let_go(given_up)
        for handed, outcome in zip(given_up, outcomes, strict=True):
            self._tell(handed, outcome)

    def _tell(self, handed: Handed[T], outcome: Outcome) -> None:
        self._open.pop(handed, None)
        done, handed.done = handed.done, None
        if done is not None:
            done(outcome)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now, late = time.monotonic(), []
            for handed in self._open:
                if handed.deadline > now:
                    break
                if not handed.is_given_up:
                    late.append(handed)
            if late:
                log.warning("Kafka did not acknowledge in time", extra={"messages": len(late)})
                self._settled(late, [UNKNOWN] * len(late))

    def _lingered(self) -> None:
        """The first has waited LINGER_S: hand over, or wait for what is on its way."""
        self._timer = self._loop.call_later(GATHER_S, self._hand_over)
        self._is_ready = True
        self._consider()

    def _consider(self) -> None:
        """While a third of all is on its way, the others wait for more, and share a record."""
        if self._is_ready and 2 * len(self._open) <= 3 * len(self._gathered):
            self._hand_over()

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._is_ready = None, False
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            # Besides, what was handed over while the last batch was written.
            while len(batch) < MAX_BATCH:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    break
                batch += more
            now = time.monotonic()
            # What nobody waits for any more was answered with 451 and must not be written.
            batch = [one for one in batch if one.deadline > now]
            if batch:
                self._write(batch, self)
