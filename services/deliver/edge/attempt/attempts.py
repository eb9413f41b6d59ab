"""Turns jobs into attempts on the asyncio loop, and the outcomes of attempts into records.

Owns: the running attempts. Does not own: connections (pool/pools.py), the steps that follow an
outcome (core/attempt/plan.py), Kafka (shared/stream/worker.py). A job is claimed with begin() just
before its first byte is sent; a job that cannot be claimed is skipped. Some messages must be held
when they are in doubt. Such a message first gets a connection. Then a record that the message is
about to be offered is written to Kafka. The message is sent only after Kafka has this record. While
the record cannot be written, the message waits.

A fault of our own code in one attempt affects only the message of this attempt. The message is
deferred, or it gets the outcome that was already known. The fault is counted and logged with its
traceback. The process and all other mail continue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from services.deliver.core.attempt.plan import (
    Plan,
    Timing,
    as_outcome,
    expire,
    has_expired,
    hold,
    must_hold,
    plan,
    wait,
    with_doubt,
    with_versions,
)
from services.deliver.core.attempt.results import Deferred, Outcome
from services.deliver.core.attempt.retry import RetryTimes
from services.deliver.core.attempt.verdicts import after_fault
from services.deliver.core.control.effects import follow
from services.deliver.edge.attempt.attempt_records import (
    UNREADABLE,
    EventCounter,
    lane_of,
    records_of,
)
from services.deliver.edge.attempt.claims import Claim
from services.deliver.edge.attempt.parts import Lanes, NoLanes, Sender, Settling
from services.deliver.edge.attempt.stepping import Steps
from services.deliver.edge.control.control import Control, no_control
from shared.runtime.clock import Clock
from shared.runtime.telemetry import Counter, Metric
from shared.stream import outputs
from shared.stream.jobs import Job
from shared.stream.transactions import Output
from shared.topics.control import Verb
from shared.topics.retry_topics import is_early

log = logging.getLogger(__name__)

FAILED: Final = Metric(
    "sluice_deliver_failed_attempts",
    "Attempts that ended with a programming error. Each message was deferred; the log has the"
    " traceback.",
)


class Gates(Struct, frozen=True):
    """The waiting messages of each lane, the orders of operators, and the counters of events."""

    lanes: Lanes
    control: Control
    events: EventCounter
    shaping: str = ""  # the version of the shaping rules


class Attempts:
    """Runs attempts for a worker, on the event loop in which it was created."""

    def __init__(
        self,
        worker: Settling,
        sender: Sender,
        clock: Clock,
        retries: RetryTimes,
        failed: Counter,
        *,
        gates: Gates | None = None,
    ) -> None:
        """If `gates` is None, no lane is counted and there are no orders."""
        gates = gates or Gates(NoLanes(), no_control(clock), EventCounter())
        self._lanes, self._control, self._events = gates.lanes, gates.control, gates.events
        self._shaping = gates.shaping
        # The messages that wait for a connection.
        self._waiting: set[Claim] = set()
        self._worker = worker
        self._sender = sender
        self._clock = clock
        self._retries = retries
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._steps = Steps(self._loop)
        self.crashed: asyncio.Future[None] = self._loop.create_future()

    def hand_out(self, jobs: list[Job]) -> None:
        """Take jobs from the Kafka thread, and return at once."""
        by_lane: dict[str, list[Job]] = {}
        for job in jobs:
            by_lane.setdefault(lane_of(job.assigned.partition.topic), []).append(job)
        for lane, part in by_lane.items():
            if lane:
                self._lanes.handed(lane, part)
        self._loop.call_soon_threadsafe(self._start, jobs)

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._steps.start(self._attempt_once(job))

    def _begun(self, job: Job) -> None:
        # A job that was moved to the handover topic has already begun.
        if lane := lane_of(job.assigned.partition.topic):
            self._lanes.begun(lane, job)

    async def _attempt_once(self, job: Job) -> None:
        try:
            await self._attempt(job)
        except Exception as error:
            # The worker received no records, so the process must end with an error. Then a
            # successor reads the message again.
            if not self.crashed.done():
                self.crashed.set_exception(error)
        finally:
            self._begun(job)

    async def _attempt(self, job: Job) -> None:
        envelope, content = job.message.envelope, job.message.content
        outcome: Outcome | None = None
        claim: Claim | None = None
        try:
            steps = self._without_attempt(job)
            while steps is None:
                claim = Claim(job, self._clock, self._control, self._begun, self._name)
                self._waiting.add(claim)
                try:
                    outcome = await self._sender.send(envelope, content, claim)
                finally:
                    self._waiting.discard(claim)
                if outcome is not None:
                    timing = self._timing()
                    steps = as_outcome(envelope, plan(envelope, outcome, timing), timing)
                elif claim.is_ended:
                    # `steps` is None if the message must be sent to another destination.
                    steps = self._without_attempt(job)
                else:
                    return
            if outcome is None and not job.begin(is_offer=False):
                return
            written = self._written(job, steps)
        except Exception as error:
            self._failed.add(1)
            log.exception("an attempt failed", extra={"mail_id": envelope.mail_id})
            if claim is not None and claim.is_withdrawn and not claim.is_ended:
                return  # the message was turned away, or another process owns it
            is_open = job.begun and outcome is None
            if not (job.begun or job.begin(is_offer=False)):
                return
            written = self._records_after_fault(job, error, outcome, is_open=is_open)
        self._worker.settle(job, written)

    def look_again(self) -> None:
        """Turn away the messages that wait for a connection and to which a new order applies."""
        for claim in list(self._waiting):
            self._turn_away(claim)

    def _turn_away(self, claim: Claim) -> None:
        job = claim.job
        envelope = job.message.envelope
        if job.begun:
            return
        try:
            steps = self._without_attempt(job) if claim.is_ordered_otherwise() else None
            if steps is None or not claim.withdraw() or not job.begin(is_offer=False):
                return
            written = self._written(job, steps)
        except Exception as error:
            self._failed.add(1)
            log.exception("an order could not be applied", extra={"mail_id": envelope.mail_id})
            claim.is_withdrawn = True
            if not (job.begun or job.begin(is_offer=False)):
                return
            written = self._records_after_fault(job, error, None, is_open=False)
        self._worker.settle(job, written)

    def _written(self, job: Job, steps: Plan) -> list[Output]:
        """Complete a plan, return its records, and count its events."""
        envelope = job.message.envelope
        provider = self._control.provider_of(envelope)
        steps = self._completed(job, steps, provider)
        written = records_of(steps, envelope, job.message.content, provider)
        self._events.count(envelope, provider, steps)
        return written

    def _timing(self) -> Timing:
        return Timing(self._clock.now_ms(), self._retries)

    def _name(self, job: Job, ready: Callable[[bool], None]) -> None:
        """Record that the job is about to be offered.

        `ready` is called with True if the job still belongs to this process, otherwise with False.
        """

        def named(is_ours: bool) -> None:
            self._loop.call_soon_threadsafe(ready, is_ours)

        self._worker.name(job, named)

    def _completed(self, job: Job, steps: Plan, provider: str) -> Plan:
        """Complete the plan with the doubt of an earlier attempt, the versions and the provider."""
        envelope = job.message.envelope
        if job.in_doubt:
            steps = with_doubt(envelope, steps, self._clock.now_ms())
        return with_versions(envelope, steps, self._shaping, provider)

    def _without_attempt(self, job: Job) -> Plan | None:
        """Return the plan for a message that is not attempted now, or None to attempt it."""
        envelope = job.message.envelope
        now_ms = self._clock.now_ms()
        if has_expired(envelope, now_ms):
            return expire(envelope, now_ms)
        order = self._control.of(envelope)
        if order is None or not order.verb.is_final:
            is_doubtful = job.in_doubt and must_hold(envelope)
            if is_doubtful:
                # The message is held from now on. If an operator released the message after an
                # earlier doubt, this release does not count.
                return hold(replace(envelope, held_since_ms=0), self._timing())
            if self._control.is_held(envelope):
                return hold(envelope, self._timing())
        if is_early(envelope, now_ms) and (order is None or not order.verb.is_final):
            return wait(envelope, self._timing())
        if order is not None and order.verb is not Verb.REROUTE:
            return follow(envelope, order, self._timing())
        return None

    def _records_after_fault(
        self, job: Job, error: Exception, outcome: Outcome | None, *, is_open: bool
    ) -> list[Output]:
        """Return the records to write after a fault of our own code.

        `is_open` is True if the message was offered and its outcome is unknown.
        """
        envelope, content = job.message.envelope, job.message.content
        extra = {"mail_id": envelope.mail_id, "client": envelope.client}
        try:
            timing = self._timing()
            found = after_fault(error, outcome)
            if is_open and must_hold(envelope) and isinstance(found, Deferred):
                found = replace(found, in_doubt=True)
            steps = plan(envelope, found, timing)
            provider = self._control.provider_of(envelope)
            steps = self._completed(job, as_outcome(envelope, steps, timing), provider)
            return records_of(steps, envelope, content, provider)
        except Exception as worse:
            log.exception("no event can be written; the message goes to mail.refused", extra=extra)
            reason = f"No event can be written for this message ({type(worse).__name__})"
            place = (job.assigned.partition.topic, job.assigned.partition.partition, job.offset)
            return [outputs.refused_bytes(content, UNREADABLE, reason, place)]
