"""From the front door's loop to Kafka and back: what was handed over, and whether it is there.

Two outboxes: messages go as packs onto mail.received through an idempotent producer, refusals
go with their tally in one transaction. Each has a thread of its own, because kafka-python
blocks while it has no metadata.

Promises: `done` is called exactly once on the loop: True only after Kafka has acknowledged the
record (acks=all), False after TIMEOUT_S at the latest. After False nobody knows whether the
record was written: the client is told 451 and hands it in again. When the process dies before
the acknowledgement the client has had no 250. A producer that failed once is given up, so
nothing of it can be written much later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError

from shared.stream import outputs
from shared.stream.client import ClientOptions, make_producer
from shared.stream.failpoints import Failpoints
from shared.stream.transactions import Output, TransactionalProducer, TransactionLost
from shared.topics import names
from shared.topics.codec import packs
from shared.topics.records import EventType, MailEvent, Message

log = logging.getLogger(__name__)

SERVICE: Final = "ingest"
# The client must hear 451 within 5 s when Kafka is away (DESIGN section 3).
TIMEOUT_S: Final = 4.0
# Messages that come within this time share a record; a session waits for Kafka anyway.
LINGER_S: Final = 0.002
MAX_BATCH: Final = 512
_SWEEP_S: Final = 0.25
_RETRY_S: Final = 0.25
_CLOSE_TIMEOUT_S: Final = 10.0

Done = Callable[[bool], None]
T = TypeVar("T")


class Handed(Generic[T]):
    """One thing to be written, and who waits for it."""

    __slots__ = ("deadline", "done", "item")

    def __init__(self, item: T, done: Done, deadline: float) -> None:
        self.item = item
        self.done: Done | None = done
        self.deadline = deadline


class Outbox(Generic[T]):
    """Takes things on the loop, has a thread write them in batches, tells how it went."""

    def __init__(self, name: str, write: Callable[[list[Handed[T]], Outbox[T]], None]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Handed[T] | None] = queue.SimpleQueue()
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
        self._queue.put(handed)

    def settle(self, batch: Sequence[Handed[T]], is_written: bool) -> None:
        """Tell how a batch went. Thread-safe."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._settled, batch, is_written)

    async def close(self) -> None:
        """Wait for what was handed over, at most its time-out, then end the thread."""
        if self._open:
            self._emptied = self._loop.create_future()
            await self._emptied
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, _CLOSE_TIMEOUT_S)
        self._sweeper.cancel()

    def _settled(self, batch: Sequence[Handed[T]], is_written: bool) -> None:
        for handed in batch:
            self._open.pop(handed, None)
            done, handed.done = handed.done, None
            if done is not None:
                done(is_written)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now, late = time.monotonic(), []
            for handed in self._open:
                if handed.deadline > now:
                    break
                late.append(handed)
            if late:
                log.warning("Kafka did not acknowledge in time", extra={"messages": len(late)})
                self._settled(late, False)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            time.sleep(LINGER_S)
            batch = [first]
            while len(batch) < MAX_BATCH:
                try:
                    handed = self._queue.get_nowait()
                except queue.Empty:
                    break
                if handed is None:
                    self._queue.put(None)
                    break
                batch.append(handed)
            now = time.monotonic()
            # What nobody waits for any more was answered with 451 and must not be written.
            batch = [handed for handed in batch if handed.deadline > now]
            if batch:
                self._write(batch, self)


class MessageWriter:
    """Writes accepted messages onto mail.received."""

    def __init__(self, options: ClientOptions, failpoints: Failpoints) -> None:
        self._options = options
        self._failpoints = failpoints
        self._producer: KafkaProducer | None = None
        self._failed = threading.Event()
        self.fault = ""

    def write(self, batch: list[Handed[Message]], outbox: Outbox[Message]) -> None:
        """Send a batch as packs; each is settled when Kafka has answered."""
        at = 0
        try:
            producer = self._ready()
            for pack in packs([handed.item for handed in batch]):
                part = batch[at : at + len(pack)]
                at += len(pack)
                output = outputs.pack(names.RECEIVED, pack)
                sent = producer.send(output.topic, output.value, None, list(output.headers))
                self._failpoints.hit("ingest.door_sent")
                sent.add_both(self._answered, part, outbox)
        except (KafkaError, AssertionError, RuntimeError) as error:
            self._give_up(error)
            outbox.settle(batch[at:] if at else batch, False)
            time.sleep(_RETRY_S)

    def close(self) -> None:
        """End the producer."""
        self._discard()

    def _ready(self) -> Any:
        if self._failed.is_set():
            self._discard()
            self._failed.clear()
        if self._producer is None:
            self._producer = make_producer(
                self._options,
                None,
                linger_ms=0,
                request_timeout_ms=int(TIMEOUT_S * 1000) - 500,
                delivery_timeout_ms=int(TIMEOUT_S * 1000),
                max_block_ms=int(TIMEOUT_S * 1000),
            )
            self.fault = ""
        return self._producer

    def _answered(
        self, part: list[Handed[Message]], outbox: Outbox[Message], result: object
    ) -> None:
        is_written = not isinstance(result, BaseException)
        if not is_written:
            self.fault = f"Kafka: {result!r}"
            self._failed.set()
        self._failpoints.hit("ingest.door_acknowledged")
        outbox.settle(part, is_written)

    def _give_up(self, error: BaseException) -> None:
        self.fault = f"Kafka: {error}"
        log.warning("front door: no Kafka", extra={"reason": str(error)})
        self._failed.set()

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.close(timeout=0)


class RefusalWriter:
    """Tells refusals at the dot as events, with their tally, in one transaction a batch."""

    def __init__(self, producer: TransactionalProducer) -> None:
        self._producer = producer

    def write(
        self, batch: list[Handed[tuple[str, MailEvent]]], outbox: Outbox[tuple[str, MailEvent]]
    ) -> None:
        """Write a batch; the answer comes with the commit."""
        written: list[Output] = []
        received: dict[tuple[str, str, str], int] = {}
        for mail_id, event in (handed.item for handed in batch):
            written.append(outputs.event(SERVICE, EventType.REFUSED, mail_id, event))
            key = (event.client, event.mailing_id, event.sub_client)
            received[key] = received.get(key, 0) + 1
        first_id, first = batch[0].item
        written.append(outputs.tally(SERVICE, f"{SERVICE}.{first_id}", first.at_ms, received))
        try:
            self._producer.commit(written)
        except TransactionLost as error:
            log.warning("refusals not told", extra={"reason": str(error)})
            outbox.settle(batch, False)
        else:
            outbox.settle(batch, True)

    def close(self) -> None:
        """End the producer."""
        self._producer.close()
