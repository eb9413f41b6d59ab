"""The parts that every service on Kafka has, built from its settings in one way.

Owns: how a service's clients, its topics, its failpoints and its watching of the brokers are
configured from its settings. Does not own: what the service reads, writes and does with it (its
app.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from msgspec.structs import replace

from shared.runtime.checks import Probe, Progress
from shared.runtime.failpoints import Failpoints
from shared.runtime.service_cli import Running
from shared.settings.sections import KafkaSettings, RuntimeSettings
from shared.stream.admin import ensure_topics_until
from shared.stream.client import WORKER_FETCH_BYTES, options_of
from shared.stream.client_events import ClientEvents
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Limits
from shared.stream.loop import LoopStatus
from shared.stream.open_transactions import OpenTransactions
from shared.stream.reachability import BROKERS, probe_brokers
from shared.stream.relay import MAX_RECORDS, Process, Relay
from shared.stream.security import log_warnings
from shared.stream.status_metrics import register_relay_metrics, register_worker_metrics
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import watchdog_of
from shared.stream.worker import Worker
from shared.topics.names import plans

FAILPOINT: Final = "SLUICE_FAILPOINT"


class StreamKit:
    """The parts of one service process."""

    def __init__(self, kafka: KafkaSettings, runtime: RuntimeSettings, running: Running) -> None:
        """Raises FailpointError if the environment names an unknown failpoint."""
        self._kafka = kafka
        self._running = running
        self._start_fault = "starting"
        self.options = options_of(kafka, runtime)
        log_warnings(kafka)
        self.failpoints = Failpoints.parse(os.environ.get(FAILPOINT, ""))

    def ensure_topics(self, lanes: Sequence[str] = ()) -> bool:
        """Create and align the topics of the pipeline, and those of these lanes.

        Every service calls this: the service that starts first creates the topics. Returns False if
        the process was asked to stop before Kafka answered.
        """
        topics = plans(tuple(lanes), self._kafka.partitions)
        # Until the probe of watching() takes its place.
        self._running.health.add_ready(BROKERS, lambda: self._start_fault)
        return ensure_topics_until(
            self._running.stop, self._kafka, topics, self.options, self._note
        )

    def _note(self, fault: str) -> None:
        self._start_fault = fault

    def consumer(
        self, topics: Sequence[str] = (), pattern: str = "", *, keeps_claims: bool = False
    ) -> Callable[[], StreamConsumer]:
        """Return a function that joins the service's group, on these topics or a pattern."""
        group, options = f"sluice.{self._running.service}", self.options
        if keeps_claims:
            options = replace(options, partition_fetch_bytes=WORKER_FETCH_BYTES)
        return partial(StreamConsumer, options, group, topics, pattern, keeps_claims=keeps_claims)

    def producer(
        self, name: str = "", failpoints: Failpoints | None = None, writes: Collection[str] = ()
    ) -> TransactionalProducer:
        """Create a producer; it connects when it is opened.

        By default the one of the service, with its failpoints; `name` becomes part of the
        transactional id. `writes`: the topics that it may write to.
        """
        return TransactionalProducer(
            self.options,
            name or self._running.service,
            failpoints or self.failpoints,
            watchdog_of(self.options),
            ClientEvents(self._kafka, self.options),
            writes,
        )

    def relay(
        self,
        make_consumer: Callable[[], StreamConsumer],
        producer: TransactionalProducer,
        process: Process,
        *,
        max_records: int = MAX_RECORDS,
    ) -> Relay:
        """Create the service's relay, with its metrics and its check on /ready."""
        relay = Relay(
            self._running.service,
            make_consumer,
            producer,
            process,
            self.failpoints,
            max_records=max_records,
        )
        register_relay_metrics(relay.status, self._running.health, self._running.counters)
        return relay

    def worker(self, pattern: str, limits: Limits, writes: Collection[str] = ()) -> Worker:
        """Create the service's worker, with its metrics and its check on /ready.

        `writes`: the topics that its outcomes may go to.
        """
        worker = Worker(
            self._running.service,
            self.consumer(pattern=pattern, keeps_claims=True),
            self.producer(writes=writes),
            self.failpoints,
            limits,
        )
        register_worker_metrics(worker.status, self._running.health, self._running.counters)
        return worker

    @contextmanager
    def watching(
        self, reads: Iterable[str], writes: Iterable[str], status: LoopStatus | None = None
    ) -> Iterator[Probe]:
        """Show on /ready whether these topics can be used, and end abandoned transactions.

        `status` is that of the loop that polls Kafka: /live shows whether it takes turns, as long
        as the brokers can be used.
        """
        with (
            probe_brokers(self.options, reads, writes, self._running.health) as brokers,
            OpenTransactions(self.options),
        ):
            if status is not None:
                turns = Progress("the Kafka loop", lambda: status.turns, self._excuse(brokers))
                self._running.health.add_live("kafka_loop", turns)
            yield brokers

    def _excuse(self, brokers: Probe) -> Callable[[], str]:
        return lambda: self._running.stop.reason or brokers.fault()
