"""Turns jobs into attempts on the asyncio loop, and their outcomes into records.

Owns the tasks. Does not own: connections (pools.py), what an outcome leads to (core/plan.py),
Kafka (shared/stream/worker.py). A job is claimed with begin() just before anything is sent;
one that cannot be claimed is another member's by now and is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from services.deliver.core.outcome import Outcome
from services.deliver.core.plan import Plan, Timing, expire, has_expired, plan, wait
from shared.runtime.clock import Clock
from shared.stream import outputs
from shared.stream.consumer import Record
from shared.stream.jobs import Job
from shared.stream.transactions import Output
from shared.stream.worker import Worker
from shared.topics import names
from shared.topics.records import Envelope, Message
from shared.topics.waiting import is_early

SERVICE: Final = "deliver"
UNREADABLE: Final = "unreadable"


class Sender(Protocol):
    """Whoever attempts a delivery; a remote answer is a value, never an exception."""

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Outcome | None:
        """Attempt once, if `begin` says so just before; otherwise None."""
        ...


class Attempts:
    """Runs attempts for a worker, on the loop it was made in."""

    def __init__(self, worker: Worker, sender: Sender, clock: Clock, time_scale: float) -> None:
        self._worker = worker
        self._sender = sender
        self._clock = clock
        self._time_scale = time_scale
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
        # A crash of ours leaves its message unsettled; the process must end, loudly, so that
        # a successor reads it again.
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.crashed.done():
            self.crashed.set_exception(error)

    async def _attempt(self, job: Job) -> None:
        envelope, content = job.message.envelope, job.message.content
        now_ms = self._clock.now_ms()
        if has_expired(envelope, now_ms):
            if not job.begin():
                return
            steps = expire(envelope, now_ms)
        elif is_early(envelope, now_ms):
            if not job.begin():
                return
            steps = wait(envelope, Timing(now_ms, self._time_scale))
        else:
            outcome = await self._sender.send(envelope, content, job.begin)
            if outcome is None:
                return
            steps = plan(envelope, outcome, Timing(self._clock.now_ms(), self._time_scale))
        self._worker.settle(job, records_of(steps, envelope, content))


def records_of(steps: Plan, envelope: Envelope, content: bytes) -> list[Output]:
    """The records a plan writes: its events, and the message on its retry topic."""
    mail_id = envelope.mail_id
    written = [outputs.event(SERVICE, told.kind, mail_id, told.data) for told in steps.events]
    if envelope.own_events:
        written += [outputs.own_copy(told, envelope.client) for told in written]
    if steps.retry is not None:
        topic = names.deferred(steps.step)
        written.append(outputs.pack(topic, [Message(steps.retry, content)]))
    return written


def due_at_ms(messages: Sequence[Message]) -> int:
    """When the last message of a pack is due, Unix milliseconds; 0 for at once."""
    return max(message.envelope.not_before_ms for message in messages)


def unreadable(record: Record, reason: str) -> list[Output]:
    """What is written for a record that was no pack."""
    return [outputs.refused_record(record, UNREADABLE, reason)]
