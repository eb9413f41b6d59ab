"""Reads packs, hands their messages to an asyncio loop, and commits outcomes out of order.

One Kafka thread polls, hands out messages and runs the transactions. The event loop calls settle().
Each transaction contains the outputs of the messages that were settled since the last transaction
and, for each partition, the ledger's low-water mark and metadata (ledger.py, outcome_writer.py).
worker_session.py does the work of one member of the group. This module replaces a lost member by a
new member.

- If the process dies, settled and committed messages are finished. Another process hands out the
  messages that were handed out but not committed. There are at most `max_in_flight` such messages.
  - If the process is paused for longer than its session time-out, its lease has expired when it
    continues. So no message begins and no record is handed out before the broker confirms the
    membership. If the membership is lost, all partitions and messages are dropped, and a new
    consumer joins. If another member gets the dropped messages, at most the messages that had begun
    here are sent twice. If this process gets these messages again, none is sent twice
    (kept_outcomes.py).
  - If the process must give up partitions in a rebalance, it drops messages that have not begun. It
    finishes and commits messages that have begun, while polling and heartbeats continue. Until
    these messages are finished, the partition stays with this member, unless they are moved to a
    shelf of this member after `handover_grace_s` (holdings.py). - If the process must stop, it
    gives up all partitions in this way, within `drain_timeout_s`.

So a rebalance or a graceful stop sends no message twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from shared.runtime.clock import monotonic
from shared.runtime.failpoints import Failpoints
from shared.runtime.lifecycle import Stop
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Handler, Job, Limits, WorkerStatus
from shared.stream.kept_outcomes import KeptOutcomes
from shared.stream.loop import SessionLoop
from shared.stream.outcome_writer import OutcomeWriter
from shared.stream.transactions import Output, TransactionalProducer
from shared.stream.worker_session import WorkerSession

log = logging.getLogger(__name__)

RETRY_S: Final = 0.5


class Worker:
    """The Kafka thread of a service that commits outcomes out of order."""

    def __init__(
        self,
        service: str,
        make_consumer: Callable[[], StreamConsumer],
        producer: TransactionalProducer,
        failpoints: Failpoints,
        limits: Limits,
    ) -> None:
        """`make_consumer` returns a StreamConsumer with `keeps_claims`."""
        self._service = service
        self._make_consumer = make_consumer
        self._producer = producer
        self._failpoints = failpoints
        self._limits = limits
        # The limit is doubled, because the partitions may be lost again while their records are
        # read.
        self._kept = KeptOutcomes(2 * limits.max_in_flight, limits.max_in_flight_bytes)
        # After a lost transaction, the next transaction may contain the outcomes of both.
        self._outcomes = OutcomeWriter(
            service, producer, failpoints, 2 * limits.commit_messages, kept=self._kept
        )
        self._stop_until: float | None = None
        self.status = WorkerStatus()

    def settle(self, job: Job, outputs: Sequence[Output]) -> None:
        """Accept the records to write as the outcome of a job. Thread-safe."""
        self._outcomes.settle(job, outputs)

    def name(self, job: Job, named: Callable[[bool], None]) -> None:
        """Before a message is offered to a server, commit a mark that it is offered. Thread-safe.

        `named` is called in the Kafka thread: with True when the commit is certain, with False if
        this worker no longer owns the message. After the commit, the message is in doubt for other
        processes until it has an outcome.
        """
        self._outcomes.name(job, named)

    def run(self, stop: Stop, handler: Handler) -> None:
        """Process messages until `stop` is set, then drain."""
        loop = SessionLoop(
            self._service, lambda: self._open(handler), WorkerSession.turn, self.status
        )
        try:
            while not (stop.is_set() and self._has_drained(loop.session)):
                if not loop.step():
                    _wait(stop)
        finally:
            self._producer.close()
            loop.close()

    def _open(self, handler: Handler) -> WorkerSession:
        # Open the producer first, because opening ends the transaction that an earlier process left
        # open. Before this transaction ends, the broker does not return the committed offsets.
        self._producer.open()
        if self._kept:
            log.warning(
                "%s: %d messages of lost partitions are not sent again if this process gets their"
                " partitions again",
                self._service,
                len(self._kept),
            )
        return WorkerSession(
            self._make_consumer(),
            self._outcomes,
            handler,
            limits=self._limits,
            status=self.status,
            hit=lambda step: self._failpoints.hit(f"{self._service}.{step}"),
        )

    def _has_drained(self, session: WorkerSession | None) -> bool:
        """Return True if no message is in flight or the drain time-out is over."""
        if self._stop_until is None:
            self._stop_until = monotonic() + self._limits.drain_timeout_s
            if session is not None:
                session.stop_reading()
        if session is None or not (session.in_flight or self._outcomes.waiting):
            return True
        if monotonic() < self._stop_until:
            return False
        log.warning(
            "%s: %d messages are still in flight after the drain", self._service, session.in_flight
        )
        return True


def _wait(stop: Stop) -> None:
    if stop.is_set():
        time.sleep(RETRY_S)
    else:
        stop.wait(RETRY_S)
