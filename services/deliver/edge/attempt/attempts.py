"""Turns jobs into attempts on the asyncio loop, and their outcomes into records.

Owns the tasks. Does not own: connections (pool/pools.py), the steps that follow an outcome
(core/attempt/plan.py), Kafka (shared/stream/worker.py). A job is claimed with begin() just before
anything is sent; a job that cannot be claimed is skipped. A fault of our own code in one attempt
affects only that message: it is deferred, or keeps the outcome that was already known. The fault
is counted and logged with its traceback; the process and all other mail continue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.attempt.plan import Plan, Timing, expire, has_expired, plan, wait
from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.core.attempt.verdicts import after_fault
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counter, Metric
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.jobs import Job
from shared.stream.transactions import Output
from shared.topics import names
from shared.topics.delay_topics import is_early
from shared.topics.records import Envelope, Message

log = logging.getLogger(__name__)

SERVICE: Final = "deliver"
FAILED: Final = Metric(
    "sluice_deliver_failed_attempts",
    "Attempts that ended with a programming error. Each message was deferred; the log has the"
    " traceback.",
)
UNREADABLE: Final = "unreadable"


class Sender(Protocol):
    """Attempts a delivery; a remote answer is a value, never an exception."""

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Outcome | None:
        """Attempt once if `begin`, called just before, returns true; otherwise return None."""
        ...


class Settling(Protocol):
    """Takes the outcomes: the worker."""

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Take the records to write with the outcome of a job."""
        ...


class _Begin:
    """Claims a job just before its message goes out, unless the message has expired by then.

    It may have waited for a connection for minutes, and no attempt begins after the expiry.
    """

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self.has_expired = False

    def __call__(self) -> bool:
        self.has_expired = has_expired(self._job.message.envelope, self._clock.now_ms())
        return not self.has_expired and self._job.begin()


class Attempts:
    """Runs attempts for a worker, on the event loop in which it was created."""

    def __init__(
        self,
        worker: Settling,
        sender: Sender,
        clock: Clock,
        retries: RetryTimes,
        failed: Counter,
    ) -> None:
        self._worker = worker
        self._sender = sender
        self._clock = clock
        self._retries = retries
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.crashed: asyncio.Future[None] = self._loop.create_future()

    def hand_out(self, jobs: list[Job]) -> None:
        """Take jobs from the Kafka thread; returns at once."""
        self._loop.call_soon_threadsafe(self._start, jobs)

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            task = self._loop.create_task(self._attempt(job))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # The worker received no records: the process must end with an error, so that a successor
        # reads the message again.
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.crashed.done():
            self.crashed.set_exception(error)

    async def _attempt(self, job: Job) -> None:
        envelope, content = job.message.envelope, job.message.content
        outcome: Outcome | None = None
        try:
            steps = self._without_attempt(envelope)
            if steps is None:
                begin = _Begin(job, self._clock)
                outcome = await self._sender.send(envelope, content, begin)
                if outcome is not None:
                    steps = plan(envelope, outcome, self._timing())
                elif begin.has_expired and job.begin():
                    steps = expire(envelope, self._clock.now_ms())
                else:
                    return
            elif not job.begin():
                return
            written = records_of(steps, envelope, content)
        except Exception as error:
            self._failed.add(1)
            log.exception("an attempt failed", extra={"mail_id": envelope.mail_id})
            if not (job.begun or job.begin()):
                return
            written = self._records_after_fault(job, error, outcome)
        self._worker.settle(job, written)

    def _timing(self) -> Timing:
        return Timing(self._clock.now_ms(), self._retries)

    def _without_attempt(self, envelope: Envelope) -> Plan | None:
        """The plan for a message that is not attempted now; None if it is attempted."""
        now_ms = self._clock.now_ms()
        if has_expired(envelope, now_ms):
            return expire(envelope, now_ms)
        return wait(envelope, self._timing()) if is_early(envelope, now_ms) else None

    def _records_after_fault(
        self, job: Job, error: Exception, outcome: Outcome | None
    ) -> list[Output]:
        envelope, content = job.message.envelope, job.message.content
        extra = {"mail_id": envelope.mail_id, "client": envelope.client}
        try:
            steps = plan(envelope, after_fault(error, outcome), self._timing())
            return records_of(steps, envelope, content)
        except Exception as worse:
            log.exception("no event can be written; the message goes to mail.refused", extra=extra)
            reason = f"No event can be written for this message ({type(worse).__name__})"
            place = (job.assigned.partition.topic, job.assigned.partition.partition, job.offset)
            return [outputs.refused_bytes(content, UNREADABLE, reason, place)]


def records_of(steps: Plan, envelope: Envelope, content: bytes) -> list[Output]:
    """The records a plan writes: its events, and the message on its retry topic."""
    mail_id = envelope.mail_id
    written = [outputs.event(SERVICE, told.kind, mail_id, told.data) for told in steps.events]
    if envelope.own_events:
        written += [outputs.client_copy(told, envelope.client) for told in written]
    if steps.retry is not None:
        topic = names.deferred(steps.step)
        written.append(outputs.pack(topic, [Message(steps.retry, content)]))
    return written


def due_at_ms(messages: Sequence[Message]) -> int:
    """When the last message of a pack is due, in Unix milliseconds; 0 means now."""
    return max(message.envelope.due_at_ms for message in messages)


def unreadable(record: Record, reason: str) -> list[Output]:
    """The output for a record that is not a valid pack."""
    return [outputs.refused_record(record, UNREADABLE, reason)]
