"""Writes the records of requests to Kafka, and answers a request when its records are acknowledged.

One thread takes all waiting requests and writes them together. So a slow broker delays the answers,
but does not reduce the number of answers per second. Owns: the queue and its bound, the producer,
the detection of pauses of this process. Does not own: the records.

Guarantees: write() returns only after Kafka has every record. If Kafka takes too long, write()
raises NotWritten within WRITE_S + ANSWER_S. After NotWritten it is not known whether the records
were written. The caller may write all these records again, with the same keys and event ids. If
MAX_WAITING requests wait, further requests are refused at once. The records are not written in a
transaction, because an open transaction of a failed process would stop the readers of mail.events.
A producer that failed is replaced. If the process dies, its requests get no answer, so the platform
repeats the requests. Before the failpoint `api.sent` no record is written. After `api.sent` the
records may be written, and after `api.acknowledged` they are written.

No record of a request is written after the request's time is over, even if this process is paused.
During the pause, another process may have answered the platform. The clock is read immediately
before each record is handed to the producer. The producer already knows the topic, so sending does
not wait. The producer drops records that it could not send within its own time limit (PRODUCER_MS).
If only a part of a request was handed over, the producer drops this part at once. Requests that may
have waited in the operating system during the pause are refused (PauseWatch). One case is not
covered: a pause between reading the clock and the system call (docs/decisions/0218-paused-api.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from kafka.errors import KafkaError, KafkaTimeoutError
from msgspec import Struct

from shared.runtime.clock import Clock
from shared.runtime.failpoints import Failpoints
from shared.runtime.threads import CLOSE_TIMEOUT_S, EnduringThread
from shared.stream.kafka_python.producing import discard, wait_for_topic
from shared.stream.transactions import Output

WRITE_S: Final = 4.0
# The limits of the producer. The time limit of a network request is shorter than the time limit of
# a record.
PRODUCER_MS: Final = {
    "linger_ms": 0,
    "max_block_ms": 4_000,
    "request_timeout_ms": 3_000,
    "delivery_timeout_ms": 4_000,
}
# The highest number of requests whose records are not acknowledged yet. Each request takes some
# kilobytes.
MAX_WAITING: Final = 256
_LOOK_S: Final = 0.2
_NEVER: Final = Failpoints.none()
# The time for the answer, in addition to the time for Kafka.
ANSWER_S: Final = 0.5

TICK_S: Final = 0.25
PAUSE_S: Final = 2.0
SUSPECT_S: Final = 2.0


class NotWritten(Exception):
    """Kafka has not acknowledged the records in time; they may still have been written."""


class _Job(Struct, frozen=True):
    outputs: Sequence[Output]
    until: float  # monotonic
    done: Callable[[int | Exception], None]


class _HandedOver(Struct, frozen=True):
    """The records of a job that were handed to the producer."""

    job: _Job
    futures: Sequence[Any]
    is_whole: bool  # False if the time of the job ended before its last record was handed over


class KafkaWriter:
    """The writer of one process. Only one event loop may call write()."""

    def __init__(
        self,
        make_producer: Callable[[], Any],
        clock: Clock,
        missing: Callable[[set[str], Any], set[str]] = lambda _, __: set(),
        failpoints: Failpoints = _NEVER,
        is_suspect: Callable[[], bool] = lambda: False,
    ) -> None:
        """`missing` gets topics, and returns the topics whose records must not be written.
        `is_suspect` returns whether a request that is read now may be an old one."""
        self._is_suspect = is_suspect
        self._failpoints = failpoints
        self._make_producer = make_producer
        self._clock = clock
        self._missing = missing
        self._producer: Any = None
        self._jobs: queue.Queue[_Job] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread = EnduringThread(
            "writer", self._work, expected=(KafkaError,), failed=lambda _: None, ended=self._end
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write the waiting records, and stop."""
        self._thread.close()

    async def write(self, outputs: Sequence[Output]) -> int:
        """Write these records; return the offset of the last record. Raises NotWritten."""
        until = self._clock.monotonic() + WRITE_S
        if self._is_suspect():
            raise NotWritten("this process was paused, and the request may be an old one")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()

        def done(result: int | Exception) -> None:
            with contextlib.suppress(RuntimeError):  # the server and its event loop have ended
                loop.call_soon_threadsafe(_settle, answer, result)

        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise NotWritten("too many requests wait for Kafka")
            self._waiting += 1
        try:
            self._jobs.put_nowait(_Job(outputs, until, done))
            return await asyncio.wait_for(answer, WRITE_S + ANSWER_S)
        except (TimeoutError, queue.Full):
            raise _late() from None
        finally:
            with self._lock:
                self._waiting -= 1

    def _work(self) -> None:
        while not self._thread.is_closing or not self._jobs.empty():
            if self._producer is None:
                self._producer = self._make_producer()
            batch = self._take()
            if not batch:
                continue
            try:
                self._write(batch)
            except Exception as error:
                for job in batch:
                    job.done(NotWritten(f"Kafka: {error}"))
                self._drop()
                raise

    def _take(self) -> list[_Job]:
        """Wait for a job, then return all waiting jobs whose time is not over."""
        found: list[_Job] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._jobs.get(timeout=_LOOK_S))
            while True:
                found.append(self._jobs.get_nowait())
        now = self._clock.monotonic()
        return [job for job in found if job.until > now]

    def _write(self, batch: list[_Job]) -> None:
        producer, hit = self._producer, self._failpoints.hit
        hit("api.taken")
        topics = {output.topic for job in batch for output in job.outputs}
        missing = self._missing(topics, producer)
        sent = [self._hand_over(job, missing) for job in batch]
        hit("api.sent")
        for each in sent:
            job = each.job
            if not each.is_whole:
                job.done(_late())
                continue
            offset = -1
            for future in each.futures:
                left = job.until - self._clock.monotonic()
                offset = int(future.get(max(left, 0.001)).offset)
            hit("api.acknowledged")
            job.done(offset)
        if any(each.futures and not each.is_whole for each in sent):
            self._drop()  # this call also drops the unsent records of these jobs

    def _hand_over(self, job: _Job, missing: set[str]) -> _HandedOver:
        """Hand the records of a job to the producer until the time of the job is over."""
        futures: list[Any] = []
        for output in job.outputs:
            is_missing = output.topic in missing
            # Wait for the topic before the clock is read. Otherwise send() would wait after the
            # clock is read.
            is_ready = is_missing or self._is_known(output.topic, job.until)
            if not is_ready or self._clock.monotonic() >= job.until:
                return _HandedOver(job, futures, is_whole=False)
            if not is_missing:
                futures.append(_send(self._producer, output))
        return _HandedOver(job, futures, is_whole=True)

    def _is_known(self, topic: str, until: float) -> bool:
        """Wait until the producer knows the topic, at most until `until`."""
        left_ms = round((until - self._clock.monotonic()) * 1000)
        try:
            wait_for_topic(self._producer, topic, max(left_ms, 0))
        except KafkaTimeoutError:
            return False
        return True

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)

    def _end(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=WRITE_S)


class PauseWatch:
    """Detects that this process was paused, so that requests from before the pause are refused.

    A request that waited in the operating system while the process was paused looks new. But its
    sender no longer waits, and another process may have answered the sender in the meantime. A
    thread reads the clock every TICK_S. If the thread could not read the clock for longer than
    PAUSE_S, requests are treated as old for the next SUSPECT_S. SUSPECT_S is long enough to read
    all waiting requests. A pause shorter than PAUSE_S is not detected, so a request may be up to
    PAUSE_S older than it seems. If a machine is so busy that no thread runs for PAUSE_S, requests
    are refused and have to be repeated.

    The thread runs from start() until close(); is_suspect() may be called from any thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen_at = clock.monotonic()
        self._until = float("-inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pause-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._seen_at = self._clock.monotonic()  # the time before start() is not a pause
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    def tick(self) -> None:
        """Read the clock, as the thread does."""
        now = self._clock.monotonic()
        if now - self._seen_at > PAUSE_S:
            self._until = now + SUSPECT_S  # set before _seen_at, because is_suspect() reads both
        self._seen_at = now

    def is_suspect(self) -> bool:
        """Return whether a request that is read now may have been sent before a pause."""
        seen_at = self._seen_at
        now = self._clock.monotonic()
        return now - seen_at > PAUSE_S or now < self._until

    def _run(self) -> None:
        while not self._closing.wait(TICK_S):
            self.tick()


def _late() -> NotWritten:
    return NotWritten(f"Kafka did not answer in {WRITE_S:g} s")


def _send(producer: Any, output: Output) -> Any:
    partition = output.partition
    if partition is None and output.key is not None:
        # The transactional producer computes the same partition, so all events of a message are on
        # one partition.
        partition = zlib.crc32(output.key) % len(producer.partitions_for(output.topic))
    return producer.send(output.topic, output.value, output.key, list(output.headers), partition)


def _settle(answer: asyncio.Future[int], result: int | Exception) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
