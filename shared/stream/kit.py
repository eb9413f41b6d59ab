"""Builds the Kafka parts of a service from its settings, in the same way for all services.

This module owns the configuration of Kafka clients, topics, failpoints and broker checks from the
settings of the service. It also owns the metrics and readiness checks of a relay and a worker. It
does not own the choice of the topics that the service reads and writes, and the processing of their
records (the service's app.py).
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
from shared.runtime.health import HealthServer
from shared.runtime.service_cli import Running
from shared.runtime.telemetry import Counters, Metric
from shared.settings.sections import KafkaSettings, RuntimeSettings
from shared.stream.admin import ensure_topics_until
from shared.stream.client import WORKER_FETCH_BYTES, log_warnings, options_of
from shared.stream.client_events import ClientEvents
from shared.stream.consumer import StreamConsumer
from shared.stream.jobs import Limits, WorkerStatus
from shared.stream.loop import LoopStatus
from shared.stream.open_transactions import OpenTransactions
from shared.stream.reachability import BROKERS, probe_brokers
from shared.stream.relay import MAX_RECORDS, Process, Relay, RelayStatus
from shared.stream.transactions import TransactionalProducer
from shared.stream.watchdog import watchdog_of
from shared.stream.worker import Worker
from shared.topics.names import plans

# The metrics of relays and workers. A metric name ends with the name of a status attribute.
_BOTH: Final = (
    Metric("sluice_stream_transactions", "Transactions committed."),
    Metric(
        "sluice_stream_lost_transactions",
        "Transactions that did not commit, or whose result is unknown. A few at a broker's restart"
        " are normal.",
    ),
    Metric(
        "sluice_stream_lost_memberships",
        "Times the process lost its membership of the consumer group, for example after a pause "
        "of more than 10 s. Messages that the deliver service had in flight may have been sent "
        "twice, if another process got the partition.",
    ),
)
RELAY_METRICS: Final = (
    Metric("sluice_stream_records", "Records that were read and processed."),
    Metric("sluice_stream_outputs", "Records written."),
    Metric(
        "sluice_stream_unreadable",
        "Records that could not be read and were written to mail.refused. In the ingest "
        "service, a client caused the fault. In the validate service, another program writes to "
        "an internal topic.",
    ),
    *_BOTH,
)
WORKER_METRICS: Final = (
    Metric("sluice_stream_handed_out", "Messages handed out for an attempt."),
    Metric("sluice_stream_settled", "Messages whose outcome is committed."),
    Metric(
        "sluice_stream_in_flight",
        "Messages in flight; if the process crashes now, these may be sent twice.",
    ),
    Metric("sluice_stream_in_flight_bytes", "Bytes of the messages in flight."),
    Metric(
        "sluice_stream_oldest_in_flight_s",
        "Seconds since the oldest message in flight was handed out; 0 if there is none.",
    ),
    Metric(
        "sluice_stream_unreadable",
        "Records that were not a pack of messages and were written to mail.refused: a sign that"
        " another program writes to an internal topic.",
    ),
    Metric(
        "sluice_stream_kept_outcomes",
        "Messages whose attempt had begun when the process lost their partition. They are not sent"
        " again if the process gets the partition again within an hour.",
    ),
    Metric(
        "sluice_stream_dropped_outcomes",
        "Messages of lost partitions that the process forgot because there were too many. They are"
        " sent again if no other process has settled them.",
    ),
    *_BOTH,
)
_PREFIX: Final = "sluice_stream_"
FAILPOINT: Final = "SLUICE_FAILPOINT"


def register_relay_metrics(status: RelayStatus, health: HealthServer, counters: Counters) -> None:
    """Register the state of a relay for /ready and /metrics."""
    _register(status, RELAY_METRICS, counters)
    health.add_ready("kafka", lambda: status.waiting_by_check()["kafka"])
    health.add_ready("dependencies", lambda: status.waiting_by_check()["dependencies"])


def register_worker_metrics(status: WorkerStatus, health: HealthServer, counters: Counters) -> None:
    """Register the state of a worker for /ready and /metrics."""
    _register(status, WORKER_METRICS, counters)
    health.add_ready("kafka", lambda: status.waiting_for)


def _register(
    status: RelayStatus | WorkerStatus, metrics: Iterable[Metric], counters: Counters
) -> None:
    for metric in metrics:
        counters.watch(metric, _reader(status, metric.name.removeprefix(_PREFIX)))


def _reader(status: RelayStatus | WorkerStatus, name: str) -> Callable[[], float]:
    return lambda: float(getattr(status, name))


class StreamKit:
    """The Kafka parts of one service process."""

    def __init__(self, kafka: KafkaSettings, runtime: RuntimeSettings, running: Running) -> None:
        """Raises FailpointError if the environment contains an unknown failpoint."""
        self._kafka = kafka
        self._running = running
        self._start_fault = "starting"
        self.options = options_of(kafka, runtime)
        log_warnings(kafka)
        self.failpoints = Failpoints.parse(os.environ.get(FAILPOINT, ""))

    def ensure_topics(self, lanes: Sequence[str] = ()) -> bool:
        """Create missing topics of the pipeline and of these lanes, and align existing topics.

        Every service calls this, and the service that starts first creates the topics. Returns
        False if the process was stopped before Kafka answered.
        """
        topics = plans(tuple(lanes), self._kafka.partitions)
        # The probe of watching() replaces this check later.
        self._running.health.add_ready(BROKERS, lambda: self._start_fault)
        return ensure_topics_until(
            self._running.stop, self._kafka, topics, self.options, self._note
        )

    def _note(self, fault: str) -> None:
        self._start_fault = fault

    def consumer(
        self, topics: Sequence[str] = (), pattern: str = "", *, keeps_claims: bool = False
    ) -> Callable[[], StreamConsumer]:
        """Return a function that joins the service's group for these topics or a topic pattern."""
        group, options = f"sluice.{self._running.service}", self.options
        if keeps_claims:
            options = replace(options, partition_fetch_bytes=WORKER_FETCH_BYTES)
        return partial(StreamConsumer, options, group, topics, pattern, keeps_claims=keeps_claims)

    def producer(
        self, name: str = "", failpoints: Failpoints | None = None, writes: Collection[str] = ()
    ) -> TransactionalProducer:
        """Create a producer. The producer connects when it is opened.

        `name` becomes part of the transactional id. By default, the name and the failpoints of the
        service are used. `writes` are the topics to which the producer may write.
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

        `writes` are the topics to which the worker may write outcomes.
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

        `status` is the status of the loop that polls Kafka. While the brokers can be used, /live
        shows whether this loop makes progress.
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
